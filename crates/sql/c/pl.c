/*
 * A compiled PL/pgSQL function: every query and expression in it, and what it runs at run time only.
 */
#include "walk.h"

#include "plpgsql.h"

static void walk_pl(PLpgSQL_stmt *statement, void *walk);

/* Parses `text` and walks what it holds; `mode` says whether that is statements or an expression. */
void
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

void
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
