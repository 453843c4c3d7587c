/*
 * Does a WHERE choose among the target's rows? `WHERE true`, `WHERE 1 = 1`, `WHERE id = id` and `WHERE x OR true` do not.
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
	return speaks_of_target(condition, target);
}
