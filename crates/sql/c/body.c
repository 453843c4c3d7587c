/*
 * Code inside statements: function bodies and DO blocks. SQL bodies are parsed as SQL, PL/pgSQL bodies by the server's own
 * PL/pgSQL grammar and each query in them as SQL; all other languages, and SQL built at run time, are opaque.
 *
 * The PL/pgSQL compiler was made for a server that has checked more before it is called; each check that it leaves out
 * is made here first, and named where it is made.
 */
#include "walk.h"

#include <ctype.h>

#include "common/keywords.h"
#include "gramparse.h"
#include "nodes/value.h"
#include "pg_query.h"

/* Its entry for functions is static, so it becomes part of this file; its own JSON entry is not wanted. */
#define pg_query_parse_plpgsql weir_unused_parse_plpgsql
#define pg_query_free_plpgsql_parse_result weir_unused_free_plpgsql_parse_result
#include "pg_query_parse_plpgsql.c"

/* Bodies within bodies within bodies. */
#define MAX_BODIES 4

/*
 * The compiler recurses over nested blocks without looking at the stack. A level takes one of these words at least, so
 * that their number bounds the depth; this much stack (in kB) is enough for it, many times over.
 */
#define MAX_BLOCK_WORDS 1000
#define BODY_STACK_KB 1024

void
note_odd_body(Walk *w, const char *what)
{
	note_text(w, WEIR_ODD_BODY, what);
}

static void
note_language(Walk *w, const char *language)
{
	note_odd_body(w, psprintf("language %s", language));
}

static const char *
skip_blank(const char *at)
{
	int			depth = 0;

	for (; *at; at++)
	{
		if (at[0] == '/' && at[1] == '*')
			depth++, at++;
		else if (depth > 0 && at[0] == '*' && at[1] == '/')
			depth--, at++;
		else if (depth == 0 && at[0] == '-' && at[1] == '-')
		{
			while (at[1] && at[1] != '\n' && at[1] != '\r')
				at++;
		}
		else if (depth == 0 && !isspace((unsigned char) *at))
			break;
	}
	return at;
}

/*
 * A body may open with compiler options, and `#option dump` would print the tree to standard output. Only what is known
 * to be harmless passes.
 */
static bool
has_odd_options(const char *at)
{
	for (at = skip_blank(at); *at == '#'; at = skip_blank(at))
	{
		at = skip_blank(at + 1);
		if (pg_strncasecmp(at, "variable_conflict", 17) != 0 && pg_strncasecmp(at, "print_strict_params", 19) != 0)
			return true;
		while (*at && !isspace((unsigned char) *at) && *at != '/' && *at != '-')
			at++;
		at = skip_blank(at);
		while (isalpha((unsigned char) *at) || *at == '_')
			at++;
	}
	return false;
}

/* Fails as the compiler would where the body does not lex. */
static bool
has_too_many_blocks(const char *body)
{
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(body, &extra, &ScanKeywords, ScanKeywordTokens);
	core_YYSTYPE value;
	YYLTYPE		location;
	int			token;
	int			words = 0;

	while ((token = core_yylex(&value, &location, scanner)) != 0)
		if (token == BEGIN_P || token == THEN || (token == IDENT && strcmp(value.str, "loop") == 0))
			words++;
	scanner_finish(scanner);
	return words > MAX_BLOCK_WORDS;
}

/* The compiler keeps arguments in arrays of this length, and trusts the server to have counted them. */
static bool
has_too_many_parameters(List *parameters)
{
	return list_length(parameters) > FUNC_MAX_ARGS;
}

static void
walk_plpgsql(Walk *w, Node *statement, char *body)
{
	MemoryContext context = CurrentMemoryContext;
	const Walk	before = *w;

	if (max_stack_depth < BODY_STACK_KB)
	{
		note_byte(w, WEIR_TOO_DEEP, -1);
		return;
	}
	if (has_odd_options(body))
	{
		note_odd_body(w, "plpgsql option");
		return;
	}
	PG_TRY();
	{
		PLpgSQL_function *function;

		if (has_too_many_blocks(body))
			ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX), errmsg("too many blocks")));
		function = IsA(statement, DoStmt)
			? plpgsql_compile_inline(body)
			: compile_create_function_stmt_via_callback((CreateFunctionStmt *) statement);

		/* The server keeps compiled functions for the session; here it goes with the parse. */
		if (function->fn_cxt)
			MemoryContextSetParent(function->fn_cxt, w->context);
		walk_pl_function(w, function);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		w->ctes = before.ctes;
		w->ranges = before.ranges;
		w->place = before.place;
		w->bodies = before.bodies;
		note_error(w, CopyErrorData());
		FlushErrorState();
	}
	PG_END_TRY();
}

static bool
enter_body(Walk *w)
{
	if (w->bodies < MAX_BODIES)
	{
		w->bodies++;
		return true;
	}
	note_byte(w, WEIR_TOO_DEEP, -1);
	return false;
}

void
walk_do(Walk *w, DoStmt *statement)
{
	const char *language = "plpgsql";
	char	   *body = NULL;
	int			bodies = 0;
	ListCell   *cell;

	foreach(cell, statement->args)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "language") == 0)
			language = strVal(option->arg);
		else
		{
			body = strVal(option->arg);
			bodies++;
		}
	}
	if (strcmp(language, "plpgsql") != 0)
		note_language(w, language);
	else if (bodies != 1)
		note_odd_body(w, "not one body");
	else if (enter_body(w))
	{
		walk_plpgsql(w, (Node *) statement, body);
		w->bodies--;
	}
}

static void
walk_atomic(Walk *w, Node *body)
{
	ListCell   *cell;

	check_stack_depth();
	if (body == NULL)
		return;
	if (IsA(body, List))
		foreach(cell, (List *) body)
			walk_atomic(w, lfirst(cell));
	else
		walk_command(w, body);
}

void
walk_function_body(Walk *w, CreateFunctionStmt *statement)
{
	const char *language = statement->sql_body ? "sql" : "none";
	char	   *body = NULL;
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "language") == 0)
			language = strVal(option->arg);
		else if (strcmp(option->defname, "as") == 0)
		{
			/* Two strings name a C function in a library; a second AS is the server's to refuse. */
			if (body || list_length((List *) option->arg) != 1)
			{
				note_odd_body(w, "not one body");
				return;
			}
			body = strVal(linitial((List *) option->arg));
		}
	}
	if (!enter_body(w))
		return;
	if (strcmp(language, "sql") == 0)
	{
		walk_atomic(w, statement->sql_body);
		if (body)
			walk_embedded(w, body, RAW_PARSE_DEFAULT);
	}
	else if (strcmp(language, "plpgsql") == 0 && body && statement->sql_body == NULL
			 && !has_too_many_parameters(statement->parameters))
		walk_plpgsql(w, (Node *) statement, body);
	else
		note_language(w, language);
	w->bodies--;
}
