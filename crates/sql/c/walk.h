/*
 * The walk's own state and its parts: walk.c (queries and expressions), filter.c (does a WHERE filter), utility.c
 * (statements that carry others, and those of a session), define.c and object.c (CREATE, ALTER, DROP and their like),
 * body.c and pl.c (code inside statements), spell.c (normalisation), facts.c (the entry, and the records).
 */
#ifndef WEIR_WALK_H
#define WEIR_WALK_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "parser/parser.h"

#include "weir_sql.h"

/* Names in scope, innermost first. Lives on the C stack or in the parse's memory context. */
typedef struct Names
{
	const char *name;
	const struct Names *outer;
	int			depth;
} Names;

#define KEPT_LITERALS 4

typedef struct Walk
{
	StringInfoData out;
	StringInfoData line;			/* normalised */
	StringInfoData shape;			/* normalised, literals as ? */
	StringInfoData key;				/* every token, literals without their values */
	int			kept[KEPT_LITERALS];	/* where the literals stand whose values the key holds */
	int			kept_count;
	MemoryContext context;
	char	   *text;
	bool		backslash_strings;
	bool		refused;			/* a record says why nothing more is known */
	const Names *ctes;				/* CTE names in scope */
	const Names *ranges;			/* what the FROM lists in scope call their entries */
	enum weir_place place;
	int			bodies;				/* function bodies that we are inside of */
	bool		opened;				/* the statement has its WEIR_STATEMENT */
	bool		outermost;			/* no query of the statement was entered yet */
	bool		literal;			/* a literal's value was looked at that the key does not hold */
} Walk;

/* facts.c: records */
extern void note_kind(Walk *w, enum weir_kind kind);
extern void note_relation(Walk *w, enum weir_access access, const char *schema, const char *name);
extern void note_function(Walk *w, List *name);
extern void note_column(Walk *w, enum weir_place place, const char *qualifier, const char *name);
extern void note_star(Walk *w);
extern void note_byte(Walk *w, enum weir_record record, int byte);
extern void note_text(Walk *w, enum weir_record record, const char *text);
extern void note_number(Walk *w, enum weir_record record, uint64_t number, int bytes);
extern void note_error(Walk *w, const ErrorData *error);

/* walk.c */
extern void walk_command(Walk *w, Node *statement);
extern void walk_select(Walk *w, SelectStmt *select);
extern bool walk_expression(Node *node, void *walk);
extern void walk_in(Walk *w, enum weir_place place, void *node);

/* object.c */
extern void note_define(Walk *w, RangeVar *relation);
extern void note_define_names(Walk *w, List *names, int skip);
extern void note_whole_schema(Walk *w, const char *schema);
extern void note_object(Walk *w, ObjectType type, Node *object);
extern void walk_definition(Walk *w, Node *node);
extern void walk_definitions(Walk *w, List *nodes);
extern void walk_create_table(Walk *w, CreateStmt *create);

/* define.c: true if the statement was one of its */
extern bool walk_create(Walk *w, Node *statement);
extern bool walk_alter(Walk *w, Node *statement);
extern bool walk_drop(Walk *w, Node *statement);

/* utility.c */
extern void walk_utility(Walk *w, Node *statement);
extern void walk_setting(Walk *w, VariableSetStmt *set);

/* pl.c */
struct PLpgSQL_function;
extern void walk_embedded(Walk *w, const char *text, RawParseMode mode);
extern void walk_pl_function(Walk *w, struct PLpgSQL_function *function);

/* body.c */
extern void note_odd_body(Walk *w, const char *what);
extern void walk_do(Walk *w, DoStmt *statement);
extern void walk_function_body(Walk *w, CreateFunctionStmt *statement);

/* filter.c */
extern bool is_filter(Walk *w, Node *condition, RangeVar *target);

/* spell.c */
extern void spell(const char *text, StringInfo line, StringInfo shape);
extern bool spell_whole(Walk *w);
extern void look_at_literal(Walk *w, A_Const *constant);

/* The last part of a qualified name, and the one before it (or NULL). */
extern const char *last_name(List *names, const char **qualifier);

#endif
