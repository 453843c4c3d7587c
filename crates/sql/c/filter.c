/*
 * Does a WHERE choose among the target's rows? `WHERE true`, `WHERE 1 = 1`, `WHERE id = id`, `WHERE x OR true` and
 * `WHERE x OR NOT x` do not.
 * A condition counts as a filter only if it speaks of a column that may be the target's; what else is always true
 * (`id IS NOT NULL` on a key) cannot be told from the text, and counts as a filter.
 */
#include "walk.h"

#include "nodes/nodeFuncs.h"
#include "nodes/value.h"

extern bool pg_query_raw_tree_walker_supports(Node *node);

static bool
is_of_target(ColumnRef *column, RangeVar *target)
{
	const char *qualifier;

	(void) last_name(column->fields, &qualifier);
	if (qualifier == NULL || target == NULL)
		return true;
	if (target->alias)
		return strcmp(qualifier, target->alias->aliasname) == 0;
	return strcmp(qualifier, target->relname) == 0;
}

static bool
speaks_of_target(Node *node, void *target)
{
	if (node == NULL)
		return false;
	if (IsA(node, ColumnRef))
		return is_of_target((ColumnRef *) node, target);
	if (IsA(node, CurrentOfExpr))
		return true;
	if (!pg_query_raw_tree_walker_supports(node))
		return true;			/* the walk proper says that it does not know the node */
	return raw_expression_tree_walker(node, speaks_of_target, target);
}

static bool
is_false(Node *node)
{
	return node && IsA(node, A_Const) && !((A_Const *) node)->isnull
		&& IsA(&((A_Const *) node)->val, Boolean) && !boolVal(&((A_Const *) node)->val);
}

static bool
holds_literal(Node *node, void *unused)
{
	if (node == NULL || IsA(node, A_Const))
		return node != NULL;
	return !pg_query_raw_tree_walker_supports(node) || raw_expression_tree_walker(node, holds_literal, unused);
}

/* Two of the same kind with literals in them are the same, or not, by the literals' values. */
static bool
is_same(Walk *w, Node *left, Node *right)
{
	if (left && right && nodeTag(left) == nodeTag(right) && (holds_literal(left, NULL) || holds_literal(right, NULL)))
		w->literal = true;
	return equal(left, right);
}

static const char *
operator_of(A_Expr *expr)
{
	return list_length(expr->name) == 1 && expr->kind == AEXPR_OP ? strVal(linitial(expr->name)) : "";
}

/* One of them is true wherever neither is null: `x OR NOT x`, `a = b OR a <> b`, `a IS NULL OR a IS NOT NULL`. */
static bool
are_opposites(Walk *w, Node *one, Node *other)
{
	static const char *const pairs[][2] = {{"=", "<>"}, {"<", ">="}, {">", "<="}};

	if (one && IsA(one, BoolExpr) && ((BoolExpr *) one)->boolop == NOT_EXPR)
		return is_same(w, linitial(((BoolExpr *) one)->args), other);
	if (one == NULL || other == NULL || nodeTag(one) != nodeTag(other))
		return false;
	if (IsA(one, NullTest))
		return ((NullTest *) one)->nulltesttype != ((NullTest *) other)->nulltesttype
			&& is_same(w, (Node *) ((NullTest *) one)->arg, (Node *) ((NullTest *) other)->arg);
	if (!IsA(one, A_Expr))
		return false;
	for (size_t i = 0; i < lengthof(pairs); i++)
		if (strcmp(operator_of((A_Expr *) one), pairs[i][0]) == 0 && strcmp(operator_of((A_Expr *) other), pairs[i][1]) == 0)
			return is_same(w, ((A_Expr *) one)->lexpr, ((A_Expr *) other)->lexpr)
				&& is_same(w, ((A_Expr *) one)->rexpr, ((A_Expr *) other)->rexpr);
	return false;
}

/* Alternatives that leave no row out between them. Long lists are of values, and not looked through by pairs. */
static bool
leaves_nothing_out(Walk *w, List *alternatives)
{
	ListCell   *one;
	ListCell   *other;

	if (list_length(alternatives) > 8)
		return false;
	foreach(one, alternatives)
		foreach(other, alternatives)
			if (one != other && are_opposites(w, lfirst(one), lfirst(other)))
				return true;
	return false;
}

/* `LIKE '%'` */
static bool
is_any_text(Walk *w, A_Expr *expr)
{
	A_Const    *pattern = (A_Const *) expr->rexpr;

	if ((expr->kind != AEXPR_LIKE && expr->kind != AEXPR_ILIKE) || pattern == NULL || !IsA(pattern, A_Const)
		|| pattern->isnull || !IsA(&pattern->val, String))
		return false;
	look_at_literal(w, pattern);
	return strspn(strVal(&pattern->val), "%") == strlen(strVal(&pattern->val))
		&& strVal(linitial(expr->name))[0] == '~';
}

/* What decides first decides, where it can be no other than true. */
static bool
is_filter_by_first(Walk *w, Node *condition, RangeVar *target)
{
	CaseWhen   *first;

	if (IsA(condition, CoalesceExpr))
		return is_filter(w, linitial(((CoalesceExpr *) condition)->args), target);
	first = linitial(((CaseExpr *) condition)->args);
	if (((CaseExpr *) condition)->arg == NULL && !speaks_of_target((Node *) first->expr, target))
		return is_filter(w, (Node *) first->result, target);
	return speaks_of_target(condition, target);
}

bool
is_filter(Walk *w, Node *condition, RangeVar *target)
{
	ListCell   *cell;

	check_stack_depth();
	if (condition == NULL)
		return false;
	if (IsA(condition, BoolExpr))
	{
		BoolExpr   *expr = (BoolExpr *) condition;

		/* AND filters if any part does, OR if every part does or is plainly false. */
		if (expr->boolop == AND_EXPR)
		{
			foreach(cell, expr->args)
				if (is_filter(w, lfirst(cell), target))
					return true;
			return false;
		}
		if (expr->boolop == OR_EXPR)
		{
			bool		any = false;

			if (leaves_nothing_out(w, expr->args))
				return false;
			foreach(cell, expr->args)
			{
				if (is_filter(w, lfirst(cell), target))
					any = true;
				else if (!is_false(lfirst(cell)))
					return false;
			}
			return any;
		}
	}
	if (IsA(condition, A_Expr) && is_same(w, ((A_Expr *) condition)->lexpr, ((A_Expr *) condition)->rexpr))
		return false;
	if (IsA(condition, A_Expr) && is_any_text(w, (A_Expr *) condition))
		return false;
	if (IsA(condition, CoalesceExpr) || IsA(condition, CaseExpr))
		return is_filter_by_first(w, condition, target);
	return speaks_of_target(condition, target);
}
