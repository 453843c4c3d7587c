/*
 * Objects and the parts of their definitions.
 *
 * Objects that are not relations (functions, types, roles, ...) are named as relations all the same, by Define. A whole
 * schema is `schema.*`; a whole database, or all that a role owns, is `*`.
 */
#include "walk.h"

#include "nodes/value.h"

/* As catalog/pg_class.h has it, which libpg_query leaves out. */
#define RELPERSISTENCE_TEMP 't'

/* What is made as temporary is made in the schema that the server calls pg_temp, whatever that is in the session. */
void
note_define(Walk *w, RangeVar *relation)
{
	const char *schema;

	if (relation == NULL)
		return;
	schema = relation->schemaname;
	if (schema == NULL && relation->relpersistence == RELPERSISTENCE_TEMP)
		schema = "pg_temp";
	note_relation(w, WEIR_DEFINE, schema, relation->relname);
}

/* Drops the last `skip` parts: a column, or a trigger's own name. */
void
note_define_names(Walk *w, List *names, int skip)
{
	int			n = list_length(names) - skip;

	if (n < 1 || !IsA(list_nth(names, n - 1), String))
		return;
	note_relation(w, WEIR_DEFINE, n > 1 && IsA(list_nth(names, n - 2), String) ? strVal(list_nth(names, n - 2)) : NULL,
				  strVal(list_nth(names, n - 1)));
}

void
note_whole_schema(Walk *w, const char *schema)
{
	note_relation(w, WEIR_DEFINE, schema, "*");
}

/* An object as DROP, COMMENT, GRANT and the ALTERs name it. */
void
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
	/* A default or generated value is stored, a check is asked. */
	walk_in(w, constraint->contype == CONSTR_CHECK ? WEIR_PREDICATE : WEIR_STORED, constraint->raw_expr);
	walk_definitions(w, constraint->exclusions);
	walk_in(w, WEIR_PREDICATE, constraint->where_clause);
}

void
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
void
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
			walk_in(w, WEIR_STORED, ((ColumnDef *) node)->raw_default);
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
