/*
 * The entry: parse, walk, collect records; every error of the parser ends up as a record too.
 */
#include "walk.h"

#include "nodes/pg_list.h"
#include "nodes/value.h"
#include "utils/memutils.h"

#include "pg_query.h"
#include "pg_query_internal.h"

static void
put(Walk *w, const void *bytes, int len)
{
	StringInfo	out = &w->out;

	if (out->len + len >= out->maxlen)
		enlargeStringInfo(out, len);
	memcpy(out->data + out->len, bytes, len);
	out->len += len;
}

static void
put_text(Walk *w, const char *text)
{
	uint32_t	len = text ? (uint32_t) strlen(text) : WEIR_NONE;

	put(w, &len, sizeof(len));
	if (text)
		put(w, text, (int) len);
}

static void
put_byte(Walk *w, int byte)
{
	appendStringInfoCharMacro(&w->out, (char) byte);
}

void
note_kind(Walk *w, enum weir_kind kind)
{
	put_byte(w, w->opened ? WEIR_NESTED : WEIR_STATEMENT);
	put_byte(w, kind);
	w->opened = true;
}

void
note_relation(Walk *w, enum weir_access access, const char *schema, const char *name)
{
	put_byte(w, WEIR_RELATION);
	put_byte(w, access);
	put_text(w, schema);
	put_text(w, name ? name : "");
}

const char *
last_name(List *names, const char **qualifier)
{
	int			n = list_length(names);
	Node	   *last = n > 0 ? llast(names) : NULL;
	Node	   *before = n > 1 ? list_nth(names, n - 2) : NULL;

	if (qualifier)
		*qualifier = before && IsA(before, String) ? strVal(before) : NULL;
	return last && IsA(last, String) ? strVal(last) : NULL;
}

void
note_function(Walk *w, List *names)
{
	const char *schema;
	const char *name = last_name(names, &schema);

	put_byte(w, WEIR_FUNCTION);
	put_text(w, schema);
	put_text(w, name ? name : "");
}

void
note_column(Walk *w, enum weir_place place, const char *qualifier, const char *name)
{
	put_byte(w, WEIR_COLUMN);
	put_byte(w, place);
	put_text(w, qualifier);
	put_text(w, name);
}

void
note_byte(Walk *w, enum weir_record record, int byte)
{
	put_byte(w, record);
	if (byte >= 0)
		put_byte(w, byte);
}

void
note_text(Walk *w, enum weir_record record, const char *text)
{
	put_byte(w, record);
	put_text(w, text);
}

void
note_number(Walk *w, enum weir_record record, uint64_t number, int bytes)
{
	uint32_t	half = (uint32_t) number;

	put_byte(w, record);
	if (bytes == sizeof(half))
		put(w, &half, sizeof(half));
	else
		put(w, &number, sizeof(number));
}

void
note_error(Walk *w, const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_STATEMENT_TOO_COMPLEX)
	{
		note_byte(w, WEIR_TOO_DEEP, -1);
		return;
	}
	note_number(w, WEIR_REFUSED, error->cursorpos > 0 ? (uint32_t) error->cursorpos : 0, sizeof(uint32_t));
	put_text(w, error->message ? error->message : "");
}

/* Runs to the end or leaves by an error, which weir_sql_facts turns into a record. */
static void
parse_and_walk(Walk *w)
{
	ListCell   *cell;

	foreach(cell, raw_parser(w->text, RAW_PARSE_DEFAULT))
	{
		w->opened = false;
		w->outermost = true;
		w->place = WEIR_OUTPUT;
		w->ctes = w->ranges = NULL;
		walk_command(w, lfirst_node(RawStmt, cell)->stmt);
	}
}

/* The parser's settings are globals of the thread. */
static void
enter(Walk *w)
{
	MemoryContextSwitchTo(w->context);
	standard_conforming_strings = !w->backslash_strings;
	backslash_quote = BACKSLASH_QUOTE_SAFE_ENCODING;
	escape_string_warning = false;
}

static void
refuse(Walk *w)
{
	MemoryContextSwitchTo(w->context);
	note_error(w, CopyErrorData());
	FlushErrorState();
	w->refused = true;
}

void *
weir_sql_begin(const char *text, size_t len, int options)
{
	MemoryContext context = pg_query_enter_memory_context();
	Walk	   *w = palloc0(sizeof(Walk));

	w->context = context;
	w->backslash_strings = (options & WEIR_OPTION_BACKSLASH_STRINGS) != 0;
	w->text = palloc(len + 1);
	memcpy(w->text, text, len);
	w->text[len] = 0;
	initStringInfo(&w->out);
	initStringInfo(&w->line);
	initStringInfo(&w->shape);
	initStringInfo(&w->key);
	return w;
}

struct weir_records
weir_sql_spelling(void *walk)
{
	Walk	   *volatile w = walk;
	uint32_t	len;

	enter(w);
	PG_TRY();
	{
		if (spell_whole(w))
		{
			note_text(w, WEIR_LINE, w->line.data);
			note_byte(w, WEIR_KEY, -1);
			len = (uint32_t) w->key.len;
			put(w, &len, sizeof(len));
			put(w, w->key.data, w->key.len);
		}
	}
	PG_CATCH();
	{
		refuse(w);
	}
	PG_END_TRY();
	return (struct weir_records) {(const uint8_t *) w->out.data, w->refused ? 0 : w->out.len};
}

struct weir_records
weir_sql_facts(void *walk)
{
	Walk	   *volatile w = walk;

	enter(w);
	if (!w->refused)
	{
		w->out.len = 0;
		PG_TRY();
		{
			parse_and_walk(w);
		}
		PG_CATCH();
		{
			refuse(w);
		}
		PG_END_TRY();
	}
	note_text(w, WEIR_LINE, w->line.data);
	note_text(w, WEIR_SHAPE, w->shape.data);
	if (w->literal)
		note_byte(w, WEIR_LITERAL, -1);
	return (struct weir_records) {(const uint8_t *) w->out.data, w->out.len};
}

void
weir_sql_end(void *walk)
{
	pg_query_exit_memory_context(((Walk *) walk)->context);
}
