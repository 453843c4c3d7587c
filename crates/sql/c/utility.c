/*
 * Statements that are not queries: what they define, which queries, expressions and settings they carry.
 *
 * Objects that are not relations (functions, types, roles, ...) are named as relations all the same, by Define. A whole
 * schema is `schema.*`; a whole database, or all that a role owns, is `*`.
 */
#include "walk.h"

#include "nodes/value.h"

static void walk_definition(Walk *w, Node *node);

static void
note_define(Walk *w, RangeVar *relation)
{
	if (relation)
		note_relation(w, WEIR_DEFINE, relation->schemaname, relation->relname);
}

/* Drops the last `skip` parts: a column, or a trigger's own name. */
static void
note_define_names(Walk *w, List *names, int skip)
{
	int			n = list_length(names) - skip;

	if (n < 1 || !IsA(list_nth(names, n - 1), String))
		return;
	note_relation(w, WEIR_DEFINE, n > 1 && IsA(list_nth(names, n - 2), String) ? strVal(list_nth(names, n - 2)) : NULL,
				  strVal(list_nth(names, n - 1)));
}

static void
note_whole_schema(Walk *w, const char *schema)
{
	note_relation(w, WEIR_DEFINE, schema, "*");
}

/* An object as DROP, COMMENT, GRANT and the ALTERs name it. */
static void
note_object(Walk *w, ObjectType type, Node *object)
{
	int			skip = 0;

	if (object == NULL)
		return;
	switch (type)
	{
		case OBJECT_SCHEMA:
			if (IsA(object, String))
				note_whole_schema(w, strVal(object));
			return;
		case OBJECT_DATABASE:
			note_relation(w, WEIR_DEFINE, NULL, "*");
			return;
		case OBJECT_COLUMN: case OBJECT_POLICY: case OBJECT_RULE: case OBJECT_TABCONSTRAINT: case OBJECT_TRIGGER:
			skip = 1;
			break;
		default:
			break;
	}
	switch (nodeTag(object))
	{
		case T_List:
			note_define_names(w, (List *) object, skip);
			break;
		case T_ObjectWithArgs:
			note_define_names(w, ((ObjectWithArgs *) object)->objname, 0);
			break;
		case T_RangeVar:
			note_define(w, (RangeVar *) object);
			break;
		case T_String:
			note_relation(w, WEIR_DEFINE, NULL, strVal(object));
			break;
		case T_TypeName:
			note_define_names(w, ((TypeName *) object)->names, 0);
			break;
		default:				/* a large object's number, an operator class's list */
			break;
	}
}

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
walk_definitions(Walk *w, List *nodes)
{
	ListCell   *cell;

	foreach(cell, nodes)
		walk_definition(w, lfirst(cell));
}

static void
walk_constraint(Walk *w, Constraint *constraint)
{
	if (constraint->pktable)
		note_relation(w, WEIR_READ, constraint->pktable->schemaname, constraint->pktable->relname);
	walk_in(w, WEIR_PREDICATE, constraint->raw_expr);
	walk_definitions(w, constraint->exclusions);
	walk_in(w, WEIR_PREDICATE, constraint->where_clause);
}

static void
walk_create_table(Walk *w, CreateStmt *create)
{
	note_define(w, create->relation);
	walk_definitions(w, create->inhRelations);
	walk_definitions(w, create->tableElts);
	walk_definitions(w, create->constraints);
	walk_definition(w, (Node *) create->partbound);
	walk_definition(w, (Node *) create->partspec);
}

static void
walk_partition_bound(Walk *w, PartitionBoundSpec *bound)
{
	walk_definitions(w, bound->listdatums);
	walk_definitions(w, bound->lowerdatums);
	walk_definitions(w, bound->upperdatums);
}

static void
walk_alter_command(Walk *w, AlterTableCmd *command)
{
	switch (command->subtype)
	{
		case AT_AlterColumnType: case AT_ColumnDefault: case AT_DropColumn: case AT_SetExpression:
			if (command->name)
				note_column(w, WEIR_ASSIGNED, NULL, command->name);
			break;
		default:				/* the name is not a column's, or its values stay as they are */
			break;
	}
	walk_definition(w, command->def);
}

/* A part of a definition: a column, a constraint, a partition's bound, ... */
static void
walk_definition(Walk *w, Node *node)
{
	check_stack_depth();
	if (node == NULL)
		return;
	switch (nodeTag(node))
	{
		case T_List:
			walk_definitions(w, (List *) node);
			break;
		case T_RangeVar:
			note_define(w, (RangeVar *) node);
			break;
		case T_ColumnDef:
			walk_in(w, WEIR_PREDICATE, ((ColumnDef *) node)->raw_default);
			walk_definitions(w, ((ColumnDef *) node)->constraints);
			break;
		case T_Constraint:
			walk_constraint(w, (Constraint *) node);
			break;
		case T_TableLikeClause:
			note_relation(w, WEIR_READ, ((TableLikeClause *) node)->relation->schemaname,
						  ((TableLikeClause *) node)->relation->relname);
			break;
		case T_PartitionSpec:
			walk_definitions(w, ((PartitionSpec *) node)->partParams);
			break;
		case T_PartitionElem:
			walk_in(w, WEIR_PREDICATE, ((PartitionElem *) node)->expr);
			break;
		case T_PartitionBoundSpec:
			walk_partition_bound(w, (PartitionBoundSpec *) node);
			break;
		case T_PartitionRangeDatum:
			walk_in(w, WEIR_PREDICATE, ((PartitionRangeDatum *) node)->value);
			break;
		case T_PartitionCmd:
			note_define(w, ((PartitionCmd *) node)->name);
			walk_definition(w, (Node *) ((PartitionCmd *) node)->bound);
			break;
		case T_AlterTableCmd:
			walk_alter_command(w, (AlterTableCmd *) node);
			break;
		case T_StatsElem:
			walk_in(w, WEIR_PREDICATE, ((StatsElem *) node)->expr);
			break;
		case T_FunctionParameter:
			walk_in(w, WEIR_PREDICATE, ((FunctionParameter *) node)->defexpr);
			break;
		case T_DefElem:
			if (((DefElem *) node)->arg && IsA(((DefElem *) node)->arg, VariableSetStmt))
				walk_setting(w, (VariableSetStmt *) ((DefElem *) node)->arg);
			break;
		case T_ReplicaIdentityStmt: case T_ATAlterConstraint: case T_RoleSpec: case T_TypeName: case T_Integer:
		case T_Float: case T_Boolean: case T_CollateClause:
			break;
		default:
			walk_in(w, WEIR_PREDICATE, node);
			break;
	}
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
walk_grant(Walk *w, GrantStmt *grant)
{
	ListCell   *cell;

	note_kind(w, grant->is_grant ? WEIR_GRANT : WEIR_REVOKE);
	foreach(cell, grant->privileges)
	{
		ListCell   *column;

		foreach(column, lfirst_node(AccessPriv, cell)->cols)
			note_column(w, WEIR_OUTPUT, NULL, strVal(lfirst(column)));
	}
	foreach(cell, grant->objects)
	{
		if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA)
			note_whole_schema(w, strVal(lfirst(cell)));
		else
			note_object(w, grant->objtype, lfirst(cell));
	}
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
walk_publication(Walk *w, List *objects)
{
	ListCell   *cell;

	foreach(cell, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, cell);

		if (object->pubtable)
		{
			RangeVar   *relation = object->pubtable->relation;

			note_define(w, relation);
			note_relation(w, WEIR_READ, relation->schemaname, relation->relname);
			walk_in(w, WEIR_PREDICATE, object->pubtable->whereClause);
		}
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
			note_whole_schema(w, object->name);
		else
			note_relation(w, WEIR_DEFINE, NULL, object->name ? object->name : "*");
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
walk_trigger(Walk *w, CreateTrigStmt *trigger)
{
	note_kind(w, WEIR_CREATE);
	note_define(w, trigger->relation);
	note_define(w, trigger->constrrel);
	note_function(w, trigger->funcname);
	walk_in(w, WEIR_PREDICATE, trigger->whenClause);
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
			note_kind(w, WEIR_CREATE);
			if (((CreateSchemaStmt *) s)->schemaname)
				note_whole_schema(w, ((CreateSchemaStmt *) s)->schemaname);
			{
				ListCell   *cell;

				foreach(cell, ((CreateSchemaStmt *) s)->schemaElts)
					walk_command(w, lfirst(cell));
			}
			return true;
		case T_CreateTableAsStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((CreateTableAsStmt *) s)->into->rel);
			walk_command(w, ((CreateTableAsStmt *) s)->query);
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

/* What belongs to a session, and maintenance. True if it was one. */
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

/* True if it was a CREATE. */
static bool
walk_create(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
		case T_CreateTrigStmt:
			walk_trigger(w, (CreateTrigStmt *) s);
			return true;
		case T_CreateStmt: case T_CreateForeignTableStmt:
			note_kind(w, WEIR_CREATE);
			walk_create_table(w, (CreateStmt *) s);
			return true;
		case T_IndexStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((IndexStmt *) s)->relation);
			walk_in(w, WEIR_PREDICATE, ((IndexStmt *) s)->indexParams);
			walk_in(w, WEIR_PREDICATE, ((IndexStmt *) s)->whereClause);
			return true;
		case T_CreateSeqStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((CreateSeqStmt *) s)->sequence);
			return true;
		case T_CompositeTypeStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((CompositeTypeStmt *) s)->typevar);
			return true;
		case T_CreateDomainStmt:
			note_kind(w, WEIR_CREATE);
			note_define_names(w, ((CreateDomainStmt *) s)->domainname, 0);
			walk_definitions(w, ((CreateDomainStmt *) s)->constraints);
			return true;
		case T_CreatePolicyStmt:
			note_kind(w, WEIR_CREATE);
			note_define(w, ((CreatePolicyStmt *) s)->table);
			walk_in(w, WEIR_PREDICATE, ((CreatePolicyStmt *) s)->qual);
			walk_in(w, WEIR_PREDICATE, ((CreatePolicyStmt *) s)->with_check);
			return true;
		case T_CreateStatsStmt:
			note_kind(w, WEIR_CREATE);
			walk_definitions(w, ((CreateStatsStmt *) s)->relations);
			walk_definitions(w, ((CreateStatsStmt *) s)->exprs);
			return true;
		case T_CreatePublicationStmt:
			note_kind(w, WEIR_CREATE);
			walk_publication(w, ((CreatePublicationStmt *) s)->pubobjects);
			if (((CreatePublicationStmt *) s)->for_all_tables)
				note_relation(w, WEIR_DEFINE, NULL, "*");
			return true;
		case T_CreateEventTrigStmt:
			note_kind(w, WEIR_CREATE);
			note_function(w, ((CreateEventTrigStmt *) s)->funcname);
			return true;
		case T_CreateCastStmt:
			note_kind(w, WEIR_CREATE);
			if (((CreateCastStmt *) s)->func)
				note_function(w, ((CreateCastStmt *) s)->func->objname);
			return true;
		case T_DefineStmt:
			note_kind(w, WEIR_CREATE);
			note_define_names(w, ((DefineStmt *) s)->defnames, 0);
			return true;
		case T_CreateAmStmt: case T_CreateConversionStmt: case T_CreateEnumStmt: case T_CreateExtensionStmt:
		case T_CreateFdwStmt: case T_CreateForeignServerStmt: case T_CreateOpClassStmt: case T_CreateOpFamilyStmt:
		case T_CreatePLangStmt: case T_CreateRangeStmt: case T_CreateRoleStmt: case T_CreateSubscriptionStmt:
		case T_CreateTableSpaceStmt: case T_CreateTransformStmt: case T_CreateUserMappingStmt: case T_CreatedbStmt:
		case T_ImportForeignSchemaStmt:
			note_kind(w, WEIR_CREATE);
			return true;
		default:
			return false;
	}
}

/* An ALTER that names its object by relation, by object, or by both. */
static void
walk_alter_object(Walk *w, ObjectType type, RangeVar *relation, Node *object)
{
	note_kind(w, WEIR_ALTER);
	note_define(w, relation);
	if (relation == NULL)
		note_object(w, type, object);
}

/* True if it was an ALTER. */
static bool
walk_alter(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
		case T_AlterTableStmt:
			note_kind(w, WEIR_ALTER);
			note_define(w, ((AlterTableStmt *) s)->relation);
			walk_definitions(w, ((AlterTableStmt *) s)->cmds);
			return true;
		case T_RenameStmt:
			walk_alter_object(w, ((RenameStmt *) s)->renameType, ((RenameStmt *) s)->relation, ((RenameStmt *) s)->object);
			if (((RenameStmt *) s)->renameType == OBJECT_COLUMN)
				note_column(w, WEIR_ASSIGNED, NULL, ((RenameStmt *) s)->subname);
			if (((RenameStmt *) s)->renameType == OBJECT_SCHEMA)
				note_whole_schema(w, ((RenameStmt *) s)->subname);
			return true;
		case T_AlterObjectDependsStmt:
			walk_alter_object(w, ((AlterObjectDependsStmt *) s)->objectType, ((AlterObjectDependsStmt *) s)->relation,
							  ((AlterObjectDependsStmt *) s)->object);
			return true;
		case T_AlterObjectSchemaStmt:
			walk_alter_object(w, ((AlterObjectSchemaStmt *) s)->objectType, ((AlterObjectSchemaStmt *) s)->relation,
							  ((AlterObjectSchemaStmt *) s)->object);
			return true;
		case T_AlterOwnerStmt:
			walk_alter_object(w, ((AlterOwnerStmt *) s)->objectType, ((AlterOwnerStmt *) s)->relation,
							  ((AlterOwnerStmt *) s)->object);
			return true;
		case T_AlterExtensionContentsStmt:
			walk_alter_object(w, ((AlterExtensionContentsStmt *) s)->objtype, NULL, ((AlterExtensionContentsStmt *) s)->object);
			return true;
		case T_AlterDefaultPrivilegesStmt:
			note_kind(w, WEIR_ALTER);
			walk_grant(w, ((AlterDefaultPrivilegesStmt *) s)->action);
			return true;
		case T_AlterDomainStmt:
			note_kind(w, WEIR_ALTER);
			note_define_names(w, ((AlterDomainStmt *) s)->typeName, 0);
			walk_definition(w, ((AlterDomainStmt *) s)->def);
			return true;
		case T_AlterSeqStmt:
			note_kind(w, WEIR_ALTER);
			note_define(w, ((AlterSeqStmt *) s)->sequence);
			return true;
		case T_AlterPolicyStmt:
			note_kind(w, WEIR_ALTER);
			note_define(w, ((AlterPolicyStmt *) s)->table);
			walk_in(w, WEIR_PREDICATE, ((AlterPolicyStmt *) s)->qual);
			walk_in(w, WEIR_PREDICATE, ((AlterPolicyStmt *) s)->with_check);
			return true;
		case T_AlterFunctionStmt:
			note_kind(w, WEIR_ALTER);
			note_define_names(w, ((AlterFunctionStmt *) s)->func->objname, 0);
			walk_definitions(w, ((AlterFunctionStmt *) s)->actions);
			return true;
		case T_AlterPublicationStmt:
			note_kind(w, WEIR_ALTER);
			walk_publication(w, ((AlterPublicationStmt *) s)->pubobjects);
			return true;
		case T_AlterDatabaseSetStmt:
			note_kind(w, WEIR_ALTER);
			walk_setting(w, ((AlterDatabaseSetStmt *) s)->setstmt);
			return true;
		case T_AlterRoleSetStmt:
			note_kind(w, WEIR_ALTER);
			walk_setting(w, ((AlterRoleSetStmt *) s)->setstmt);
			return true;
		case T_AlterSystemStmt:
			note_kind(w, WEIR_ALTER);
			walk_setting(w, ((AlterSystemStmt *) s)->setstmt);
			return true;
		case T_ReassignOwnedStmt: case T_AlterTableMoveAllStmt:
			note_kind(w, WEIR_ALTER);
			note_relation(w, WEIR_DEFINE, NULL, "*");
			return true;
		case T_AlterCollationStmt: case T_AlterDatabaseRefreshCollStmt: case T_AlterDatabaseStmt: case T_AlterEnumStmt:
		case T_AlterEventTrigStmt: case T_AlterExtensionStmt: case T_AlterFdwStmt: case T_AlterForeignServerStmt:
		case T_AlterOpFamilyStmt: case T_AlterOperatorStmt: case T_AlterRoleStmt: case T_AlterStatsStmt:
		case T_AlterSubscriptionStmt: case T_AlterTSConfigurationStmt: case T_AlterTSDictionaryStmt:
		case T_AlterTableSpaceOptionsStmt: case T_AlterTypeStmt: case T_AlterUserMappingStmt:
			note_kind(w, WEIR_ALTER);
			return true;
		default:
			return false;
	}
}

void
walk_utility(Walk *w, Node *s)
{
	ListCell   *cell;

	if (walk_carrier(w, s))
		return;
	w->outermost = false;
	if (walk_session(w, s) || walk_create(w, s) || walk_alter(w, s))
		return;
	switch (nodeTag(s))
	{
		case T_DropStmt:
			note_kind(w, WEIR_DROP);
			foreach(cell, ((DropStmt *) s)->objects)
				note_object(w, ((DropStmt *) s)->removeType, lfirst(cell));
			break;
		case T_DropOwnedStmt: case T_DropdbStmt:
			note_kind(w, WEIR_DROP);
			note_relation(w, WEIR_DEFINE, NULL, "*");
			break;
		case T_DropRoleStmt: case T_DropSubscriptionStmt: case T_DropTableSpaceStmt: case T_DropUserMappingStmt:
			note_kind(w, WEIR_DROP);
			break;
		case T_CommentStmt:
			note_kind(w, WEIR_COMMENT);
			note_object(w, ((CommentStmt *) s)->objtype, ((CommentStmt *) s)->object);
			break;
		case T_SecLabelStmt:
			note_kind(w, WEIR_OTHER);
			note_object(w, ((SecLabelStmt *) s)->objtype, ((SecLabelStmt *) s)->object);
			break;
		case T_GrantStmt:
			walk_grant(w, (GrantStmt *) s);
			break;
		case T_GrantRoleStmt:
			note_kind(w, ((GrantRoleStmt *) s)->is_grant ? WEIR_GRANT : WEIR_REVOKE);
			break;
		default:
			note_kind(w, WEIR_OTHER);
			note_number(w, WEIR_UNKNOWN_NODE, nodeTag(s), sizeof(uint32_t));
			break;
	}
}
