/*
 * Statements that carry other statements, and those that belong to a session or to maintenance.
 */
#include "walk.h"

#include "nodes/value.h"

void
walk_setting(Walk *w, VariableSetStmt *set)
{
	ListCell   *cell;

	if (set == NULL)
		return;
	if (set->kind == VAR_RESET_ALL)
		note_text(w, WEIR_SETTING, "all");
	else if (set->kind == VAR_SET_MULTI && strcmp(set->name, "TRANSACTION SNAPSHOT") != 0)
	{
		foreach(cell, set->args)
			if (IsA(lfirst(cell), DefElem))
				note_text(w, WEIR_SETTING, ((DefElem *) lfirst(cell))->defname);
	}
	else if (set->name)
		note_text(w, WEIR_SETTING, set->name);
}

static void
walk_copy(Walk *w, CopyStmt *copy)
{
	enum weir_access access = copy->is_from ? WEIR_WRITE : WEIR_READ;
	ListCell   *cell;

	note_kind(w, WEIR_COPY_DATA);
	note_byte(w, WEIR_COPY, copy->is_from ? WEIR_FROM : WEIR_TO);
	appendStringInfoCharMacro(&w->out, copy->is_program ? WEIR_PROGRAM : copy->filename ? WEIR_FILE : WEIR_CLIENT);
	appendStringInfoCharMacro(&w->out, copy->query != NULL);
	if (copy->relation)
		note_relation(w, access, copy->relation->schemaname, copy->relation->relname);
	foreach(cell, copy->attlist)
		note_column(w, copy->is_from ? WEIR_ASSIGNED : WEIR_OUTPUT, NULL, strVal(lfirst(cell)));
	if (copy->relation && !copy->is_from && copy->attlist == NIL)
		note_byte(w, WEIR_STAR, -1);
	walk_in(w, WEIR_PREDICATE, copy->whereClause);
	walk_command(w, copy->query);
}

static void
walk_transaction(Walk *w, TransactionStmt *transaction)
{
	switch (transaction->kind)
	{
		case TRANS_STMT_BEGIN: case TRANS_STMT_START:
			note_kind(w, WEIR_BEGIN);
			break;
		case TRANS_STMT_COMMIT:
			note_kind(w, WEIR_COMMIT);
			break;
		case TRANS_STMT_ROLLBACK:
			note_kind(w, WEIR_ROLLBACK);
			break;
		default:
			note_kind(w, WEIR_TRANSACTION);
			break;
	}
}

static void
walk_vacuum(Walk *w, VacuumStmt *vacuum)
{
	ListCell   *cell;

	note_kind(w, vacuum->is_vacuumcmd ? WEIR_VACUUM : WEIR_OTHER);
	foreach(cell, vacuum->rels)
	{
		RangeVar   *relation = lfirst_node(VacuumRelation, cell)->relation;

		if (relation)
			note_relation(w, vacuum->is_vacuumcmd ? WEIR_DEFINE : WEIR_READ, relation->schemaname, relation->relname);
	}
}

static void
walk_reindex(Walk *w, ReindexStmt *reindex)
{
	note_kind(w, WEIR_REINDEX);
	if (reindex->relation)
		note_define(w, reindex->relation);
	else if (reindex->kind == REINDEX_OBJECT_SCHEMA)
		note_whole_schema(w, reindex->name);
	else
		note_relation(w, WEIR_DEFINE, NULL, "*");
}

static void
walk_rule(Walk *w, RuleStmt *rule)
{
	ListCell   *cell;

	note_kind(w, WEIR_CREATE);
	note_define(w, rule->relation);
	walk_in(w, WEIR_PREDICATE, rule->whereClause);
	foreach(cell, rule->actions)
		walk_command(w, lfirst(cell));
}

static void
walk_create_function(Walk *w, CreateFunctionStmt *function)
{
	note_kind(w, WEIR_CREATE);
	note_define_names(w, function->funcname, 0);
	walk_definitions(w, function->parameters);
	walk_definitions(w, function->options);
	walk_function_body(w, function);
}

static void
note_handle(Walk *w, enum weir_kind kind, const char *name)
{
	note_kind(w, kind);
	if (name)
		note_text(w, WEIR_HANDLE, name);
}

static void
walk_create_schema(Walk *w, CreateSchemaStmt *schema)
{
	ListCell   *cell;

	note_kind(w, WEIR_CREATE);
	if (schema->schemaname)
		note_whole_schema(w, schema->schemaname);
	foreach(cell, schema->schemaElts)
		walk_command(w, lfirst(cell));
}

/* Statements that carry others, or run code. True if it was one. */
static bool
walk_carrier(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
		case T_CallStmt:
			note_kind(w, WEIR_CALL);
			walk_in(w, WEIR_OUTPUT, ((CallStmt *) s)->funccall);
			return true;
		case T_CopyStmt:
			walk_copy(w, (CopyStmt *) s);
			return true;
		case T_CreateFunctionStmt:
			walk_create_function(w, (CreateFunctionStmt *) s);
			return true;
		case T_CreateSchemaStmt:
			walk_create_schema(w, (CreateSchemaStmt *) s);
			return true;
		case T_CreateTableAsStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((CreateTableAsStmt *) s)->into->rel);
			if (((CreateTableAsStmt *) s)->objtype != OBJECT_MATVIEW)
				w->place = WEIR_STORED;
			walk_command(w, ((CreateTableAsStmt *) s)->query);
			w->place = WEIR_OUTPUT;
			return true;
		case T_DeclareCursorStmt:
			note_handle(w, WEIR_DECLARE, ((DeclareCursorStmt *) s)->portalname);
			walk_command(w, ((DeclareCursorStmt *) s)->query);
			return true;
		case T_DoStmt:
			note_kind(w, WEIR_DO);
			walk_do(w, (DoStmt *) s);
			return true;
		case T_ExecuteStmt:
			note_handle(w, WEIR_EXECUTE, ((ExecuteStmt *) s)->name);
			walk_in(w, WEIR_OUTPUT, ((ExecuteStmt *) s)->params);
			return true;
		case T_ExplainStmt:
			note_kind(w, WEIR_EXPLAIN);
			walk_command(w, ((ExplainStmt *) s)->query);
			return true;
		case T_PrepareStmt:
			note_handle(w, WEIR_PREPARE, ((PrepareStmt *) s)->name);
			walk_command(w, ((PrepareStmt *) s)->query);
			return true;
		case T_ReturnStmt:
			walk_in(w, WEIR_OUTPUT, ((ReturnStmt *) s)->returnval);
			return true;
		case T_RuleStmt:
			walk_rule(w, (RuleStmt *) s);
			return true;
		case T_ViewStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((ViewStmt *) s)->view);
			walk_command(w, ((ViewStmt *) s)->query);
			return true;
		default:
			return false;
	}
}

/* Maintenance of relations. True if it was that. */
static bool
walk_maintenance(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
		case T_LockStmt:
			note_kind(w, WEIR_LOCK);
			(void) walk_expression((Node *) ((LockStmt *) s)->relations, w);
			return true;
		case T_VacuumStmt:
			walk_vacuum(w, (VacuumStmt *) s);
			return true;
		case T_ClusterStmt:
			note_kind(w, WEIR_OTHER);
			note_define(w, ((ClusterStmt *) s)->relation);
			return true;
		case T_ReindexStmt:
			walk_reindex(w, (ReindexStmt *) s);
			return true;
		case T_RefreshMatViewStmt:
			note_kind(w, WEIR_OTHER);
			note_relation(w, WEIR_WRITE, ((RefreshMatViewStmt *) s)->relation->schemaname,
						  ((RefreshMatViewStmt *) s)->relation->relname);
			return true;
		case T_TruncateStmt:
			note_kind(w, WEIR_TRUNCATE);
			walk_definitions(w, ((TruncateStmt *) s)->relations);
			return true;
		default:
			return false;
	}
}

/* What belongs to a session. True if it was one. */
static bool
walk_session(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
		case T_TransactionStmt:
			walk_transaction(w, (TransactionStmt *) s);
			return true;
		case T_VariableSetStmt:
			note_kind(w, WEIR_SET);
			walk_setting(w, (VariableSetStmt *) s);
			return true;
		case T_VariableShowStmt:
			note_kind(w, WEIR_SHOW);
			return true;
		case T_ConstraintsSetStmt:
			note_kind(w, WEIR_SET);
			return true;
		case T_DiscardStmt:
			note_kind(w, WEIR_DISCARD);
			return true;
		case T_ClosePortalStmt:
			note_handle(w, WEIR_CLOSE, ((ClosePortalStmt *) s)->portalname);
			return true;
		case T_DeallocateStmt:
			note_handle(w, WEIR_DEALLOCATE, ((DeallocateStmt *) s)->name);
			return true;
		case T_FetchStmt:
			note_handle(w, WEIR_FETCH, ((FetchStmt *) s)->portalname);
			return true;
		case T_ListenStmt:
			note_kind(w, WEIR_LISTEN);
			return true;
		case T_NotifyStmt:
			note_kind(w, WEIR_NOTIFY);
			return true;
		case T_UnlistenStmt: case T_CheckPointStmt: case T_LoadStmt:
			note_kind(w, WEIR_OTHER);
			return true;
		default:
			return false;
	}
}

void
walk_utility(Walk *w, Node *s)
{
	if (walk_carrier(w, s))
		return;
	w->outermost = false;
	if (walk_session(w, s) || walk_maintenance(w, s) || walk_create(w, s) || walk_alter(w, s) || walk_drop(w, s))
		return;
	note_kind(w, WEIR_OTHER);
	note_number(w, WEIR_UNKNOWN_NODE, nodeTag(s), sizeof(uint32_t));
}
