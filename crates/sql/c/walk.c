/*
 * Queries and expressions: what they read and write, which columns and functions they name, and where.
 */
#include "walk.h"

#include "nodes/nodeFuncs.h"
#include "nodes/value.h"

extern bool pg_query_raw_tree_walker_supports(Node *node);

#define MAX_NAMES_IN_SCOPE 1000

void
walk_in(Walk *w, enum weir_place place, void *node)
{
	enum weir_place saved = w->place;

	w->place = place;
	(void) walk_expression(node, w);
	w->place = saved;
}

static bool
is_in_scope(const Names *names, const char *name)
{
	for (; names; names = names->outer)
		if (strcmp(names->name, name) == 0)
			return true;
	return false;
}

static const Names *
with_name(const Names *outer, const char *name)
{
	Names	   *names = palloc(sizeof(Names));

	names->name = name;
	names->outer = outer;
	names->depth = outer ? outer->depth + 1 : 1;
	/* Every reference looks through them all. */
	if (names->depth > MAX_NAMES_IN_SCOPE)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX), errmsg("too many names in scope")));
	return names;
}

/*
 * What the FROM list calls its entries, so that a whole-row reference can be told from a column. A function's entry is
 * what the function returns, which its name tells of.
 */
static const Names *
with_ranges(const Names *names, Node *from)
{
	ListCell   *cell;
	Alias	   *alias = NULL;

	check_stack_depth();
	if (from == NULL)
		return names;
	switch (nodeTag(from))
	{
		case T_List:
			foreach(cell, (List *) from)
				names = with_ranges(names, lfirst(cell));
			return names;
		case T_JoinExpr:
			names = with_ranges(names, ((JoinExpr *) from)->larg);
			names = with_ranges(names, ((JoinExpr *) from)->rarg);
			alias = ((JoinExpr *) from)->alias;
			break;
		case T_RangeVar:
			alias = ((RangeVar *) from)->alias;
			if (alias == NULL)
				return with_name(names, ((RangeVar *) from)->relname);
			break;
		case T_RangeSubselect:
			alias = ((RangeSubselect *) from)->alias;
			break;
		case T_RangeTableSample:
			return with_ranges(names, ((RangeTableSample *) from)->relation);
		default:
			return names;
	}
	return alias ? with_name(names, alias->aliasname) : names;
}

/* `place`: what becomes of the rows of its queries. */
static void
walk_with(Walk *w, WithClause *with, enum weir_place place)
{
	ListCell   *cell;
	enum weir_place saved = w->place;

	if (with == NULL)
		return;
	if (with->recursive)
		foreach(cell, with->ctes)
			w->ctes = with_name(w->ctes, lfirst_node(CommonTableExpr, cell)->ctename);
	foreach(cell, with->ctes)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, cell);
		const Names *ranges = w->ranges;

		w->ranges = NULL;
		w->place = place;
		if (IsA(cte->ctequery, SelectStmt))
			walk_select(w, (SelectStmt *) cte->ctequery);
		else
			walk_command(w, cte->ctequery);
		w->ranges = ranges;
		w->place = saved;
		if (!with->recursive)
			w->ctes = with_name(w->ctes, cte->ctename);
	}
}

/* A LIMIT says how many rows come at most only where it is a number and ties do not count extra. */
static void
note_limit(Walk *w, SelectStmt *select)
{
	A_Const    *constant = (A_Const *) select->limitCount;
	char	   *end;
	uint64_t	rows;

	if (constant == NULL || !IsA(constant, A_Const) || constant->isnull || select->limitOption == LIMIT_OPTION_WITH_TIES)
		return;
	look_at_literal(w, constant);
	if (IsA(&constant->val, Integer))
		note_number(w, WEIR_LIMIT, (uint64_t) intVal(&constant->val), sizeof(uint64_t));
	else if (IsA(&constant->val, Float))
	{
		rows = strtou64(castNode(Float, &constant->val)->fval, &end, 10);
		if (*end == 0)
			note_number(w, WEIR_LIMIT, rows, sizeof(uint64_t));
	}
}

void
walk_select(Walk *w, SelectStmt *select)
{
	const Names *ctes = w->ctes;
	const Names *ranges = w->ranges;
	bool		in_place = w->place == WEIR_COMPUTED || w->place == WEIR_PREDICATE || w->place == WEIR_STORED;
	enum weir_place output = in_place ? w->place : WEIR_OUTPUT;

	check_stack_depth();
	w->outermost = false;
	if (select->intoClause)
		output = WEIR_STORED;
	walk_with(w, select->withClause, output);
	if (select->op != SETOP_NONE)
	{
		walk_in(w, output, select->larg);
		walk_in(w, output, select->rarg);
	}
	w->ranges = with_ranges(w->ranges, (Node *) select->fromClause);
	walk_in(w, output, select->fromClause);
	walk_in(w, output, select->targetList);
	walk_in(w, output, select->valuesLists);
	if (select->intoClause)
	{
		note_kind(w, WEIR_CREATE);
		note_define(w, select->intoClause->rel);
	}
	walk_in(w, WEIR_PREDICATE, select->whereClause);
	walk_in(w, WEIR_PREDICATE, select->distinctClause);
	walk_in(w, WEIR_PREDICATE, select->groupClause);
	walk_in(w, WEIR_PREDICATE, select->havingClause);
	walk_in(w, WEIR_PREDICATE, select->windowClause);
	walk_in(w, WEIR_PREDICATE, select->sortClause);
	walk_in(w, WEIR_PREDICATE, select->limitCount);
	walk_in(w, WEIR_PREDICATE, select->limitOffset);
	/* lockingClause names entries of the FROM list, which were seen. */
	w->ctes = ctes;
	w->ranges = ranges;
}

/* Columns assigned to, and what is assigned. */
static void
walk_assignments(Walk *w, List *targets)
{
	ListCell   *cell;

	foreach(cell, targets)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);

		if (target->name)
			note_column(w, WEIR_ASSIGNED, NULL, target->name);
		walk_in(w, WEIR_PREDICATE, target->indirection);
		walk_in(w, WEIR_STORED, target->val);
	}
}

/* RETURNING hands back rows as a SELECT would. */
static void
walk_returning(Walk *w, ReturningClause *returning, RangeVar *target)
{
	if (returning == NULL)
		return;
	if (target)
		note_relation(w, WEIR_READ, target->schemaname, target->relname);
	walk_in(w, WEIR_OUTPUT, returning->exprs);
}

static void
walk_insert(Walk *w, InsertStmt *insert)
{
	SelectStmt *source = (SelectStmt *) insert->selectStmt;

	note_relation(w, WEIR_WRITE, insert->relation->schemaname, insert->relation->relname);
	walk_assignments(w, insert->cols);
	if (source)
	{
		if (source->valuesLists == NIL)
			note_kind(w, WEIR_SELECT);
		walk_in(w, WEIR_STORED, source);
	}
	w->ranges = with_ranges(w->ranges, (Node *) insert->relation);
	if (insert->onConflictClause)
	{
		OnConflictClause *conflict = insert->onConflictClause;

		if (conflict->infer)
		{
			walk_in(w, WEIR_PREDICATE, conflict->infer->indexElems);
			walk_in(w, WEIR_PREDICATE, conflict->infer->whereClause);
		}
		if (conflict->action == ONCONFLICT_UPDATE)
		{
			note_kind(w, WEIR_UPDATE);
			note_byte(w, WEIR_FILTER, true);	/* the rows in conflict, and no others */
		}
		walk_assignments(w, conflict->targetList);
		walk_in(w, WEIR_PREDICATE, conflict->whereClause);
	}
	walk_returning(w, insert->returningClause, insert->onConflictClause ? insert->relation : NULL);
}

static void
walk_update(Walk *w, UpdateStmt *update)
{
	note_byte(w, WEIR_FILTER, is_filter(w, update->whereClause, update->relation));
	note_relation(w, WEIR_WRITE, update->relation->schemaname, update->relation->relname);
	w->ranges = with_ranges(w->ranges, (Node *) update->relation);
	w->ranges = with_ranges(w->ranges, (Node *) update->fromClause);
	walk_in(w, WEIR_STORED, update->fromClause);
	walk_assignments(w, update->targetList);
	walk_in(w, WEIR_PREDICATE, update->whereClause);
	walk_returning(w, update->returningClause, update->relation);
}

static void
walk_delete(Walk *w, DeleteStmt *delete)
{
	note_byte(w, WEIR_FILTER, is_filter(w, delete->whereClause, delete->relation));
	note_relation(w, WEIR_WRITE, delete->relation->schemaname, delete->relation->relname);
	w->ranges = with_ranges(w->ranges, (Node *) delete->relation);
	w->ranges = with_ranges(w->ranges, (Node *) delete->usingClause);
	walk_in(w, WEIR_OUTPUT, delete->usingClause);
	walk_in(w, WEIR_PREDICATE, delete->whereClause);
	walk_returning(w, delete->returningClause, delete->relation);
}

static void
walk_merge_action(Walk *w, MergeStmt *merge, MergeWhenClause *when)
{
	bool		filtered = is_filter(w, when->condition, merge->relation);

	/* What the join matches is chosen by the join; what it does not match is chosen by the clause alone. */
	if (when->matchKind == MERGE_WHEN_MATCHED)
		filtered = filtered || is_filter(w, merge->joinCondition, merge->relation);
	if (when->commandType == CMD_INSERT)
		note_kind(w, WEIR_INSERT);
	else if (when->commandType == CMD_UPDATE || when->commandType == CMD_DELETE)
	{
		note_kind(w, when->commandType == CMD_UPDATE ? WEIR_UPDATE : WEIR_DELETE);
		note_byte(w, WEIR_FILTER, filtered);
	}
	walk_in(w, WEIR_PREDICATE, when->condition);
	walk_assignments(w, when->targetList);
	walk_in(w, WEIR_STORED, when->values);
}

static void
walk_merge(Walk *w, MergeStmt *merge)
{
	ListCell   *cell;

	note_relation(w, WEIR_WRITE, merge->relation->schemaname, merge->relation->relname);
	w->ranges = with_ranges(w->ranges, (Node *) merge->relation);
	w->ranges = with_ranges(w->ranges, merge->sourceRelation);
	walk_in(w, WEIR_STORED, merge->sourceRelation);
	walk_in(w, WEIR_PREDICATE, merge->joinCondition);
	foreach(cell, merge->mergeWhenClauses)
		walk_merge_action(w, merge, lfirst_node(MergeWhenClause, cell));
	walk_returning(w, merge->returningClause, merge->relation);
}

void
walk_command(Walk *w, Node *statement)
{
	const Names *ctes = w->ctes;
	const Names *ranges = w->ranges;
	bool		outermost = w->outermost;

	check_stack_depth();
	if (statement == NULL)
		return;
	switch (nodeTag(statement))
	{
		case T_SelectStmt:
			note_kind(w, WEIR_SELECT);
			if (outermost)
				note_limit(w, (SelectStmt *) statement);
			walk_select(w, (SelectStmt *) statement);
			break;
		case T_InsertStmt:
			note_kind(w, WEIR_INSERT);
			w->outermost = false;
			walk_with(w, ((InsertStmt *) statement)->withClause, WEIR_STORED);
			walk_insert(w, (InsertStmt *) statement);
			break;
		case T_UpdateStmt:
			note_kind(w, WEIR_UPDATE);
			w->outermost = false;
			walk_with(w, ((UpdateStmt *) statement)->withClause, WEIR_STORED);
			walk_update(w, (UpdateStmt *) statement);
			break;
		case T_DeleteStmt:
			note_kind(w, WEIR_DELETE);
			w->outermost = false;
			walk_with(w, ((DeleteStmt *) statement)->withClause, WEIR_OUTPUT);
			walk_delete(w, (DeleteStmt *) statement);
			break;
		case T_MergeStmt:
			note_kind(w, WEIR_MERGE);
			w->outermost = false;
			walk_with(w, ((MergeStmt *) statement)->withClause, WEIR_STORED);
			walk_merge(w, (MergeStmt *) statement);
			break;
		default:
			walk_utility(w, statement);
			break;
	}
	w->ctes = ctes;
	w->ranges = ranges;
}

/* All columns of something, where rows go. What is stored or computed of them is told apart from what is shown. */
static void
note_any_column(Walk *w)
{
	note_byte(w, WEIR_STAR, -1);
	if (w->place == WEIR_COMPUTED || w->place == WEIR_STORED)
		note_column(w, w->place, NULL, "*");
}

/* Every column of a row: where it is compared, a column called so. */
static void
note_star(Walk *w)
{
	if (w->place == WEIR_COMPUTED || w->place == WEIR_OUTPUT || w->place == WEIR_STORED)
		note_any_column(w);
	else
		note_column(w, w->place, NULL, "*");
}

static void
walk_column(Walk *w, ColumnRef *column)
{
	const char *qualifier;
	const char *name = last_name(column->fields, &qualifier);

	if (name)
		note_column(w, w->place, qualifier, name);
	/* `p` may be the whole row of p as well as a column: whichever shows more counts. */
	if (name == NULL || is_in_scope(w->ranges, name))
		note_star(w);
}

static void
walk_relation(Walk *w, RangeVar *relation)
{
	if (relation->schemaname == NULL && is_in_scope(w->ctes, relation->relname))
		return;
	note_relation(w, WEIR_READ, relation->schemaname, relation->relname);
	/* `patients AS p (a, b)` renames columns, so that any name may be any column. */
	if (relation->alias && relation->alias->colnames)
		note_any_column(w);
}

/* `ssn(p)` is `p.ssn` to the server where p is a row. */
static bool
is_row(Walk *w, Node *node)
{
	return node && IsA(node, ColumnRef) && list_length(((ColumnRef *) node)->fields) == 1
		&& IsA(linitial(((ColumnRef *) node)->fields), String)
		&& is_in_scope(w->ranges, strVal(linitial(((ColumnRef *) node)->fields)));
}

static void
walk_call(Walk *w, FuncCall *call)
{
	const char *schema;
	const char *name = last_name(call->funcname, &schema);
	Node	   *first = call->args ? linitial(call->args) : NULL;

	note_function(w, call->funcname);
	if (list_length(call->args) == 1 && schema == NULL && name && is_row(w, first))
		note_column(w, w->place, strVal(linitial(((ColumnRef *) first)->fields)), name);
	if (name && strcmp(name, "set_config") == 0 && first && IsA(first, A_Const) && !((A_Const *) first)->isnull
		&& IsA(&((A_Const *) first)->val, String))
	{
		look_at_literal(w, (A_Const *) first);
		note_text(w, WEIR_SETTING, strVal(&((A_Const *) first)->val));
	}
	(void) walk_expression((Node *) call->args, w);
	/* Within a group, what is ordered by is what the aggregate is made of. */
	walk_in(w, call->agg_within_group ? w->place : WEIR_PREDICATE, call->agg_order);
	walk_in(w, WEIR_PREDICATE, call->agg_filter);
	walk_in(w, WEIR_PREDICATE, call->over);
}

/* `(p).ssn`, `(p).*`, `a[1]` */
static void
walk_indirection(Walk *w, A_Indirection *indirection)
{
	const char *qualifier = NULL;
	ListCell   *cell;

	if (indirection->arg && IsA(indirection->arg, ColumnRef))
		qualifier = last_name(((ColumnRef *) indirection->arg)->fields, NULL);
	/* `(p).ssn` takes one column of p's row, `(p).*` and `p[1]` all of it. */
	if (!(is_row(w, indirection->arg) && IsA(linitial(indirection->indirection), String)))
		(void) walk_expression(indirection->arg, w);
	foreach(cell, indirection->indirection)
	{
		Node	   *step = lfirst(cell);

		if (IsA(step, String))
			note_column(w, w->place, qualifier, strVal(step));
		else if (IsA(step, A_Star))
			note_star(w);
		else
			walk_in(w, WEIR_PREDICATE, step);
	}
}

static void
walk_join(Walk *w, JoinExpr *join)
{
	ListCell   *cell;

	(void) walk_expression(join->larg, w);
	(void) walk_expression(join->rarg, w);
	walk_in(w, WEIR_PREDICATE, join->quals);
	/* It compares whatever columns have the same name. */
	if (join->isNatural)
		note_column(w, WEIR_PREDICATE, NULL, "*");
	if (join->alias && join->alias->colnames)
		note_any_column(w);
	foreach(cell, join->usingClause)
		note_column(w, WEIR_PREDICATE, NULL, strVal(lfirst(cell)));
}

/* `EXISTS (SELECT * ...)` looks at no column: the tree, which nobody reads again, goes without its star. */
static void
forget_star(Node *subselect)
{
	SelectStmt *select = (SelectStmt *) subselect;
	ResTarget  *only;

	if (!IsA(subselect, SelectStmt) || list_length(select->targetList) != 1)
		return;
	only = linitial(select->targetList);
	if (IsA(only, ResTarget) && only->val && IsA(only->val, ColumnRef)
		&& last_name(((ColumnRef *) only->val)->fields, NULL) == NULL)
		select->targetList = NIL;
}

static void
walk_sublink(Walk *w, SubLink *link)
{
	if (link->subLinkType == EXISTS_SUBLINK)
		forget_star(link->subselect);
	(void) walk_expression(link->testexpr, w);
	/* EXISTS, IN and ANY answer yes or no; a scalar or ARRAY subquery hands its value on. */
	if (link->subLinkType == EXPR_SUBLINK || link->subLinkType == ARRAY_SUBLINK)
		(void) walk_expression(link->subselect, w);
	else
		walk_in(w, WEIR_PREDICATE, link->subselect);
}

/* An output that is no plain column is made of what it names. */
static void
walk_target(Walk *w, ResTarget *target)
{
	bool		is_plain = target->val && IsA(target->val, ColumnRef);

	walk_in(w, w->place == WEIR_OUTPUT && !is_plain ? WEIR_COMPUTED : w->place, target->val);
	walk_in(w, w->place, target->indirection);
}

bool
walk_expression(Node *node, void *walk)
{
	Walk	   *w = walk;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_A_Const: case T_ParamRef: case T_String: case T_Integer: case T_Alias: case T_TypeName: case T_A_Star:
			return false;
		case T_ColumnRef:
			walk_column(w, (ColumnRef *) node);
			return false;
		case T_RangeVar:
			walk_relation(w, (RangeVar *) node);
			return false;
		case T_ResTarget:
			walk_target(w, (ResTarget *) node);
			return false;
		case T_FuncCall:
			check_stack_depth();
			walk_call(w, (FuncCall *) node);
			return false;
		case T_A_Indirection:
			check_stack_depth();
			walk_indirection(w, (A_Indirection *) node);
			return false;
		case T_SubLink:
			check_stack_depth();
			walk_sublink(w, (SubLink *) node);
			return false;
		case T_JoinExpr:
			check_stack_depth();
			walk_join(w, (JoinExpr *) node);
			return false;
		case T_MultiAssignRef:
			/* The same source stands behind every column of the list. */
			if (((MultiAssignRef *) node)->colno == 1)
				(void) walk_expression(((MultiAssignRef *) node)->source, w);
			return false;
		case T_SelectStmt:
			walk_select(w, (SelectStmt *) node);
			return false;
		case T_WithClause: case T_CommonTableExpr: case T_InsertStmt: case T_UpdateStmt: case T_DeleteStmt:
		case T_MergeStmt:
			break;				/* never within an expression, and not to be walked without their scope */
		default:
			if (pg_query_raw_tree_walker_supports(node))
				return raw_expression_tree_walker(node, walk_expression, walk);
			break;
	}
	note_number(w, WEIR_UNKNOWN_NODE, nodeTag(node), sizeof(uint32_t));
	return false;
}
