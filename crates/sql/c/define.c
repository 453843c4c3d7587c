/*
 * CREATE, ALTER, DROP, GRANT and their like: what they define.
 */
#include "walk.h"

#include "nodes/value.h"

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
walk_trigger(Walk *w, CreateTrigStmt *trigger)
{
	note_kind(w, WEIR_CREATE);
	note_define(w, trigger->relation);
	note_define(w, trigger->constrrel);
	note_function(w, trigger->funcname);
	walk_in(w, WEIR_PREDICATE, trigger->whenClause);
}

/* CREATE of a relation, or of what hangs on one. */
static bool
walk_create_relation(Walk *w, Node *s)
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
		default:
			return false;
	}
}

bool
walk_create(Walk *w, Node *s)
{
	if (walk_create_relation(w, s))
		return true;
	switch (nodeTag(s))
	{
		case T_CreateDomainStmt:
			note_kind(w, WEIR_CREATE);
			note_define_names(w, ((CreateDomainStmt *) s)->domainname, 0);
			walk_definitions(w, ((CreateDomainStmt *) s)->constraints);
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

/* ALTERs of any kind of object, and ALTER ... SET. */
static bool
walk_alter_any(Walk *w, Node *s)
{
	switch (nodeTag(s))
	{
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
		default:
			return false;
	}
}

bool
walk_alter(Walk *w, Node *s)
{
	if (walk_alter_any(w, s))
		return true;
	switch (nodeTag(s))
	{
		case T_AlterTableStmt:
			note_kind(w, WEIR_ALTER);
			note_define(w, ((AlterTableStmt *) s)->relation);
			walk_definitions(w, ((AlterTableStmt *) s)->cmds);
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

bool
walk_drop(Walk *w, Node *s)
{
	ListCell   *cell;

	switch (nodeTag(s))
	{
		case T_DropStmt:
			note_kind(w, WEIR_DROP);
			foreach(cell, ((DropStmt *) s)->objects)
				note_object(w, ((DropStmt *) s)->removeType, lfirst(cell));
			return true;
		case T_DropOwnedStmt: case T_DropdbStmt:
			note_kind(w, WEIR_DROP);
			note_relation(w, WEIR_DEFINE, NULL, "*");
			return true;
		case T_DropRoleStmt: case T_DropSubscriptionStmt: case T_DropTableSpaceStmt: case T_DropUserMappingStmt:
			note_kind(w, WEIR_DROP);
			return true;
		case T_CommentStmt:
			note_kind(w, WEIR_COMMENT);
			note_object(w, ((CommentStmt *) s)->objtype, ((CommentStmt *) s)->object);
			return true;
		case T_SecLabelStmt:
			note_kind(w, WEIR_OTHER);
			note_object(w, ((SecLabelStmt *) s)->objtype, ((SecLabelStmt *) s)->object);
			return true;
		case T_GrantStmt:
			walk_grant(w, (GrantStmt *) s);
			return true;
		case T_GrantRoleStmt:
			note_kind(w, ((GrantRoleStmt *) s)->is_grant ? WEIR_GRANT : WEIR_REVOKE);
			return true;
		default:
			return false;
	}
}
