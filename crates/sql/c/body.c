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

static void walk_pl(PLpgSQL_stmt *statement, void *walk);

static void
note_odd_body(Walk *w, const char *what)
{
	note_text(w, WEIR_ODD_BODY, what);
}

static void
note_language(Walk *w, const char *language)
{
	note_odd_body(w, psprintf("language %s", language));
}

/* Parses `text` and walks what it holds; `mode` says whether that is statements or an expression. */
static void
walk_embedded(Walk *w, const char *text, RawParseMode mode)
{
	ListCell   *cell;
	enum weir_place place = w->place;

	spell(text, &w->line, &w->shape);
	foreach(cell, raw_parser(text, mode))
	{
		Node	   *node = lfirst(cell);

		if (IsA(node, RawStmt))
			node = ((RawStmt *) node)->stmt;
		w->place = WEIR_OUTPUT;
		if (mode == RAW_PARSE_DEFAULT)
			walk_command(w, node);
		else if (IsA(node, PLAssignStmt))
		{
			(void) walk_expression((Node *) ((PLAssignStmt *) node)->indirection, w);
			walk_select(w, ((PLAssignStmt *) node)->val);
		}
		else
			(void) walk_expression(node, w);
	}
	w->place = place;
}

static void
walk_pl_query(PLpgSQL_expr *expr, void *walk)
{
	if (expr && expr->query)
		walk_embedded(walk, expr->query, expr->parseMode);
}

static void
walk_pl_dynamic(Walk *w, PLpgSQL_expr *query)
{
	if (query == NULL)
		return;
	note_byte(w, WEIR_DYNAMIC, -1);
	walk_pl_query(query, w);
}

static void
walk_pl_queries(Walk *w, List *exprs)
{
	ListCell   *cell;

	foreach(cell, exprs)
		walk_pl_query(lfirst(cell), w);
}

static void
walk_pl_list(Walk *w, List *statements)
{
	ListCell   *cell;

	foreach(cell, statements)
		walk_pl(lfirst(cell), w);
}

static void
walk_pl_block(Walk *w, PLpgSQL_stmt_block *block)
{
	ListCell   *cell;

	walk_pl_list(w, block->body);
	if (block->exceptions)
		foreach(cell, block->exceptions->exc_list)
			walk_pl_list(w, ((PLpgSQL_exception *) lfirst(cell))->action);
}

static void
walk_pl_if(Walk *w, PLpgSQL_stmt_if *s)
{
	ListCell   *cell;

	walk_pl_query(s->cond, w);
	walk_pl_list(w, s->then_body);
	foreach(cell, s->elsif_list)
	{
		walk_pl_query(((PLpgSQL_if_elsif *) lfirst(cell))->cond, w);
		walk_pl_list(w, ((PLpgSQL_if_elsif *) lfirst(cell))->stmts);
	}
	walk_pl_list(w, s->else_body);
}

static void
walk_pl_case(Walk *w, PLpgSQL_stmt_case *s)
{
	ListCell   *cell;

	walk_pl_query(s->t_expr, w);
	foreach(cell, s->case_when_list)
	{
		walk_pl_query(((PLpgSQL_case_when *) lfirst(cell))->expr, w);
		walk_pl_list(w, ((PLpgSQL_case_when *) lfirst(cell))->stmts);
	}
	walk_pl_list(w, s->else_stmts);
}

/* Loops. True if it was one. */
static bool
walk_pl_loop(Walk *w, PLpgSQL_stmt *s)
{
	switch (s->cmd_type)
	{
		case PLPGSQL_STMT_LOOP:
			walk_pl_list(w, ((PLpgSQL_stmt_loop *) s)->body);
			return true;
		case PLPGSQL_STMT_WHILE:
			walk_pl_query(((PLpgSQL_stmt_while *) s)->cond, w);
			walk_pl_list(w, ((PLpgSQL_stmt_while *) s)->body);
			return true;
		case PLPGSQL_STMT_FORI:
			walk_pl_query(((PLpgSQL_stmt_fori *) s)->lower, w);
			walk_pl_query(((PLpgSQL_stmt_fori *) s)->upper, w);
			walk_pl_query(((PLpgSQL_stmt_fori *) s)->step, w);
			walk_pl_list(w, ((PLpgSQL_stmt_fori *) s)->body);
			return true;
		case PLPGSQL_STMT_FORS:
			walk_pl_query(((PLpgSQL_stmt_fors *) s)->query, w);
			walk_pl_list(w, ((PLpgSQL_stmt_fors *) s)->body);
			return true;
		case PLPGSQL_STMT_FORC:
			walk_pl_query(((PLpgSQL_stmt_forc *) s)->argquery, w);
			walk_pl_list(w, ((PLpgSQL_stmt_forc *) s)->body);
			return true;
		case PLPGSQL_STMT_FOREACH_A:
			walk_pl_query(((PLpgSQL_stmt_foreach_a *) s)->expr, w);
			walk_pl_list(w, ((PLpgSQL_stmt_foreach_a *) s)->body);
			return true;
		case PLPGSQL_STMT_DYNFORS:
			walk_pl_dynamic(w, ((PLpgSQL_stmt_dynfors *) s)->query);
			walk_pl_queries(w, ((PLpgSQL_stmt_dynfors *) s)->params);
			walk_pl_list(w, ((PLpgSQL_stmt_dynfors *) s)->body);
			return true;
		default:
			return false;
	}
}

/* Statements that run SQL. True if it was one. */
static bool
walk_pl_sql(Walk *w, PLpgSQL_stmt *s)
{
	switch (s->cmd_type)
	{
		case PLPGSQL_STMT_EXECSQL:
			walk_pl_query(((PLpgSQL_stmt_execsql *) s)->sqlstmt, w);
			return true;
		case PLPGSQL_STMT_PERFORM:
			walk_pl_query(((PLpgSQL_stmt_perform *) s)->expr, w);
			return true;
		case PLPGSQL_STMT_CALL:
			walk_pl_query(((PLpgSQL_stmt_call *) s)->expr, w);
			return true;
		case PLPGSQL_STMT_RETURN_QUERY:
			walk_pl_query(((PLpgSQL_stmt_return_query *) s)->query, w);
			walk_pl_dynamic(w, ((PLpgSQL_stmt_return_query *) s)->dynquery);
			walk_pl_queries(w, ((PLpgSQL_stmt_return_query *) s)->params);
			return true;
		case PLPGSQL_STMT_DYNEXECUTE:
			walk_pl_dynamic(w, ((PLpgSQL_stmt_dynexecute *) s)->query);
			walk_pl_queries(w, ((PLpgSQL_stmt_dynexecute *) s)->params);
			return true;
		case PLPGSQL_STMT_OPEN:
			walk_pl_query(((PLpgSQL_stmt_open *) s)->argquery, w);
			walk_pl_query(((PLpgSQL_stmt_open *) s)->query, w);
			walk_pl_dynamic(w, ((PLpgSQL_stmt_open *) s)->dynquery);
			walk_pl_queries(w, ((PLpgSQL_stmt_open *) s)->params);
			return true;
		case PLPGSQL_STMT_COMMIT:
			note_kind(w, WEIR_COMMIT);
			return true;
		case PLPGSQL_STMT_ROLLBACK:
			note_kind(w, WEIR_ROLLBACK);
			return true;
		default:
			return false;
	}
}

static void
walk_pl_raise(Walk *w, PLpgSQL_stmt_raise *raise)
{
	ListCell   *cell;

	walk_pl_queries(w, raise->params);
	foreach(cell, raise->options)
		walk_pl_query(((PLpgSQL_raise_option *) lfirst(cell))->expr, w);
}

static void
walk_pl(PLpgSQL_stmt *s, void *walk)
{
	Walk	   *w = walk;

	check_stack_depth();
	if (s == NULL || walk_pl_loop(w, s) || walk_pl_sql(w, s))
		return;
	switch (s->cmd_type)
	{
		case PLPGSQL_STMT_BLOCK:
			walk_pl_block(w, (PLpgSQL_stmt_block *) s);
			break;
		case PLPGSQL_STMT_ASSIGN:
			walk_pl_query(((PLpgSQL_stmt_assign *) s)->expr, w);
			break;
		case PLPGSQL_STMT_IF:
			walk_pl_if(w, (PLpgSQL_stmt_if *) s);
			break;
		case PLPGSQL_STMT_CASE:
			walk_pl_case(w, (PLpgSQL_stmt_case *) s);
			break;
		case PLPGSQL_STMT_EXIT:
			walk_pl_query(((PLpgSQL_stmt_exit *) s)->cond, w);
			break;
		case PLPGSQL_STMT_RETURN:
			walk_pl_query(((PLpgSQL_stmt_return *) s)->expr, w);
			break;
		case PLPGSQL_STMT_RETURN_NEXT:
			walk_pl_query(((PLpgSQL_stmt_return_next *) s)->expr, w);
			break;
		case PLPGSQL_STMT_RAISE:
			walk_pl_raise(w, (PLpgSQL_stmt_raise *) s);
			break;
		case PLPGSQL_STMT_ASSERT:
			walk_pl_query(((PLpgSQL_stmt_assert *) s)->cond, w);
			walk_pl_query(((PLpgSQL_stmt_assert *) s)->message, w);
			break;
		case PLPGSQL_STMT_FETCH:
			walk_pl_query(((PLpgSQL_stmt_fetch *) s)->expr, w);
			break;
		case PLPGSQL_STMT_GETDIAG: case PLPGSQL_STMT_CLOSE:
			break;
		default:
			note_odd_body(w, "plpgsql statement");
			break;
	}
}

static void
walk_pl_function(Walk *w, PLpgSQL_function *function)
{
	for (int i = 0; i < function->ndatums; i++)
	{
		PLpgSQL_datum *datum = function->datums[i];

		if (datum->dtype == PLPGSQL_DTYPE_VAR || datum->dtype == PLPGSQL_DTYPE_PROMISE)
		{
			walk_pl_query(((PLpgSQL_var *) datum)->default_val, w);
			walk_pl_query(((PLpgSQL_var *) datum)->cursor_explicit_expr, w);
		}
		else if (datum->dtype == PLPGSQL_DTYPE_REC)
			walk_pl_query(((PLpgSQL_rec *) datum)->default_val, w);
	}
	if (function->action)
		walk_pl((PLpgSQL_stmt *) function->action, w);
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
