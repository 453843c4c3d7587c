/*
 * What Rust sees: one call that takes a text in and spells it, one that parses and walks it, one that lets go of it.
 *
 * The result is a flat run of records, each a tag byte and its fields. A string is a 32-bit length (machine byte
 * order) and its bytes; the length WEIR_NONE stands for an absent one. src/decode.rs reads exactly this.
 */
#ifndef WEIR_SQL_H
#define WEIR_SQL_H

#include <stddef.h>
#include <stdint.h>

#define WEIR_NONE UINT32_MAX

enum weir_record
{
	WEIR_COLUMN = 'C',				/* u8 place, string? qualifier, string name */
	WEIR_COPY = 'P',				/* u8 direction, u8 end, u8 query */
	WEIR_DYNAMIC = 'D',				/* SQL built at run time */
	WEIR_FILTER = 'W',				/* u8: an UPDATE or DELETE, and whether it is filtered */
	WEIR_FUNCTION = 'F',			/* string? schema, string name */
	WEIR_HANDLE = 'H',				/* string name */
	WEIR_KEY = 'k',					/* string: every token, but without the values of literals */
	WEIR_LIMIT = 'L',				/* u64 rows */
	WEIR_LINE = 'n',				/* string: the normalised text */
	WEIR_LITERAL = 'x',				/* a literal's value was looked at: another one may lead to other records */
	WEIR_NESTED = 'N',				/* u8 kind */
	WEIR_REFUSED = 'E',				/* u32 position, string message */
	WEIR_RELATION = 'R',			/* u8 access, string? schema, string name */
	WEIR_SETTING = 'T',				/* string name */
	WEIR_SHAPE = 'p',				/* string: the normalised text without its literals */
	WEIR_STAR = '*',
	WEIR_STATEMENT = 'S',			/* u8 kind: the records up to the next one are about it */
	WEIR_TOO_DEEP = 'd',
	WEIR_UNKNOWN_NODE = 'u',		/* u32 node tag */
	WEIR_ODD_BODY = 'l',			/* string: why a function's body was not walked */
};

/* In the order of KINDS in src/decode.rs. */
enum weir_kind
{
	WEIR_ALTER, WEIR_BEGIN, WEIR_CALL, WEIR_CLOSE, WEIR_COMMENT, WEIR_COMMIT, WEIR_COPY_DATA, WEIR_CREATE,
	WEIR_DEALLOCATE, WEIR_DECLARE, WEIR_DELETE, WEIR_DISCARD, WEIR_DO, WEIR_DROP, WEIR_EXECUTE, WEIR_EXPLAIN,
	WEIR_FETCH, WEIR_GRANT, WEIR_INSERT, WEIR_LISTEN, WEIR_LOCK, WEIR_MERGE, WEIR_NOTIFY, WEIR_OTHER, WEIR_PREPARE,
	WEIR_REINDEX, WEIR_REVOKE, WEIR_ROLLBACK, WEIR_SELECT, WEIR_SET, WEIR_SHOW, WEIR_TRANSACTION, WEIR_TRUNCATE,
	WEIR_UPDATE, WEIR_VACUUM,
};

enum weir_place { WEIR_ASSIGNED, WEIR_OUTPUT, WEIR_PREDICATE, WEIR_STORED, WEIR_COMPUTED };
enum weir_access { WEIR_DEFINE, WEIR_READ, WEIR_WRITE };
enum weir_copy_direction { WEIR_FROM, WEIR_TO };
enum weir_copy_end { WEIR_CLIENT, WEIR_FILE, WEIR_PROGRAM };

/* standard_conforming_strings is off in the session that the text is for. */
#define WEIR_OPTION_BACKSLASH_STRINGS 1

struct weir_records
{
	const uint8_t *data;
	size_t		len;
};

/*
 * Takes in `len` bytes at `text`, valid UTF-8 without NUL, which are copied. The answer is to be ended
 * once, on the same thread.
 */
void	   *weir_sql_begin(const char *text, size_t len, int options);

/*
 * The text's spelling: WEIR_LINE and WEIR_KEY, where texts of the same key have the same records, but for those lines,
 * unless WEIR_LITERAL is among them. Nothing where no other text's records could be this one's.
 */
struct weir_records weir_sql_spelling(void *walk);

/* Everything about the text. What weir_sql_spelling gave is gone with this call. */
struct weir_records weir_sql_facts(void *walk);
void		weir_sql_end(void *walk);

#endif
