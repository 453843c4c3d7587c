/*
 * The walk's own state and its parts: walk.c (queries and expressions), utility.c (everything else that is a
 * statement), body.c (function bodies and DO), filter.c (does a WHERE filter), spell.c (normalisation).
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

typedef struct Walk
{
	StringInfoData out;
	StringInfoData line;			/* normalised */
	StringInfoData shape;			/* normalised, literals as ? */
	MemoryContext context;
	const Names *ctes;				/* CTE names in scope */
	const Names *ranges;			/* what the FROM lists in scope call their entries */
	enum weir_place place;
	int			bodies;				/* function bodies that we are inside of */
	bool		opened;				/* the statement has its WEIR_STATEMENT */
	bool		outermost;			/* no query of the statement was entered yet */
} Walk;

/* facts.c: records */
extern void note_kind(Walk *w, enum weir_kind kind);
extern void note_relation(Walk *w, enum weir_access access, const char *schema, const char *name);
extern void note_function(Walk *w, List *name);
extern void note_column(Walk *w, enum weir_place place, const char *qualifier, const char *name);
extern void note_byte(Walk *w, enum weir_record record, int byte);
extern void note_text(Walk *w, enum weir_record record, const char *text);
extern void note_number(Walk *w, enum weir_record record, uint64_t number, int bytes);
extern void note_error(Walk *w, const ErrorData *error);

/* walk.c */
extern void walk_command(Walk *w, Node *statement);
extern void walk_select(Walk *w, SelectStmt *select);
extern bool walk_expression(Node *node, void *walk);
extern void walk_in(Walk *w, enum weir_place place, void *node);

/* utility.c */
extern void walk_utility(Walk *w, Node *statement);
extern void walk_setting(Walk *w, VariableSetStmt *set);

/* body.c */
extern void walk_do(Walk *w, DoStmt *statement);
extern void walk_function_body(Walk *w, CreateFunctionStmt *statement);

/* filter.c */
extern bool is_filter(Node *condition, RangeVar *target);

/* spell.c */
extern void spell(const char *text, StringInfo line, StringInfo shape);

/* The last part of a qualified name, and the one before it (or NULL). */
extern const char *last_name(List *names, const char **qualifier);

#endif
