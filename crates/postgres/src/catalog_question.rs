//! The one statement that a server's catalog is asked for a plan's columns: every name and operator qualified, so that no
//! `search_path` leads elsewhere. What its rows add up to is `catalog_rows`'.
//!
//! It runs on servers from version 12 on; it asks for nothing that a role without privileges may not read.

use weir_policy::ColumnMask;

use crate::catalog_memory::Pin;

/// The statement for these rules; [`Answer`] reads its rows.
pub(crate) fn question(rules: &[ColumnMask], pins: &[Pin]) -> String {
    let mut names: Vec<String> = rules.iter().map(|rule| quoted(&rule.column.to_lowercase())).collect();
    names.sort();
    names.dedup();
    let folded = rules.iter().any(|rule| !rule.column.is_ascii());
    // What the server takes for lower case depends on its locale: such names are compared here.
    let other = if folded { " OR a.attname::pg_catalog.text OPERATOR(pg_catalog.~) '[^ -~]'" } else { "" };
    let mut pinned: Vec<String> = pins.iter().map(|pin| pin.relation.to_string()).collect();
    pinned.sort();
    pinned.dedup();
    QUESTION
        .replace("$NAMES", &names.join(", "))
        .replace("$OTHER", other)
        .replace("$PINNED", &pinned.join(","))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// OIDs from 16384 on are of what people made; 12 and 13 are the languages `internal` and `c`. Kinds: `a` a column that
/// a rule may be about, with its name on a foreign server, `d` a view's dependency on a column, `e` what a generated
/// column is made of (0: code), `f` a function, whether it has code of its own, is volatile, returns a set, `g` a view
/// that calls code, `h` an heir and its parent, `k` a cast by code, `n` a view's column, `o` an origin within a view's
/// query, `p` an operator by code, `r` a relation and its persistence, `s` a column of samples or of other sessions'
/// texts, `w` a view that reads whole rows, `x` a column that an output of a view's query is made of (none: of constants,
/// 0: it is not plain where from), where the query is a single one of relations and the output calls immutable functions
/// of the server's own alone, `y` a column that holds rows of a relation or composite type.
const QUESTION: &str = "WITH RECURSIVE \
candidate (relation, attribute, name) AS (\
 SELECT a.attrelid, a.attnum, a.attname FROM pg_catalog.pg_attribute AS a \
 WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
 AND (pg_catalog.lower(a.attname::pg_catalog.text) OPERATOR(pg_catalog.=) ANY (ARRAY[$NAMES]::pg_catalog.text[])$OTHER \
 OR pg_catalog.lower(pg_catalog.substring(pg_catalog.array_to_string(a.attfdwoptions, ','), 'column_name=([^,]*)')) \
 OPERATOR(pg_catalog.=) ANY (ARRAY[$NAMES]::pg_catalog.text[])) \
 UNION SELECT a.attrelid, a.attnum, a.attname FROM pg_catalog.pg_attribute AS a \
 WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ('{$PINNED}'::pg_catalog.oid[]) \
 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped), \
statistic (relation, attribute, name) AS (\
 SELECT a.attrelid, a.attnum, a.attname FROM pg_catalog.pg_attribute AS a \
 JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
 WHERE (c.oid OPERATOR(pg_catalog.<) '16384'::pg_catalog.oid AND c.relname::pg_catalog.text OPERATOR(pg_catalog.=) \
 ANY ('{pg_stats,pg_stats_ext,pg_stats_ext_exprs,pg_statistic,pg_statistic_ext_data}'::pg_catalog.text[]) \
 AND a.attname::pg_catalog.text OPERATOR(pg_catalog.~) '^(most_common_(vals|elems)|histogram_bounds|range_.*histogram|stavalues.|stxd.*)$') \
 OR (c.relname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ('{pg_stat_activity,pg_stat_statements}'::pg_catalog.text[]) \
 AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) 'query'::pg_catalog.text)), \
definition (view, rule) AS (\
 SELECT r.ev_class, r.oid FROM pg_catalog.pg_rewrite AS r \
 JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) r.ev_class \
 WHERE r.ev_type OPERATOR(pg_catalog.=) '1'::pg_catalog.\"char\" AND c.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid \
 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{v,m}'::pg_catalog.\"char\"[])), \
need (view, class, object, part) AS (\
 SELECT v.view, d.refclassid, d.refobjid, d.refobjsubid FROM definition AS v JOIN pg_catalog.pg_depend AS d \
 ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid \
 AND d.objid OPERATOR(pg_catalog.=) v.rule AND d.refobjid OPERATOR(pg_catalog.<>) v.view), \
written (function, name) AS (\
 SELECT p.oid, p.proname FROM pg_catalog.pg_proc AS p WHERE p.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid \
 AND p.prolang OPERATOR(pg_catalog.<>) ALL ('{12,13}'::pg_catalog.oid[])), \
coded (function, name) AS (\
 SELECT function, name FROM written UNION SELECT p.oid, p.proname FROM pg_catalog.pg_aggregate AS g \
 JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) g.aggfnoid::pg_catalog.oid \
 JOIN written AS w ON w.function OPERATOR(pg_catalog.=) ANY (ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, \
 g.aggserialfn, g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::pg_catalog.oid[])), \
coding (view) AS (\
 SELECT DISTINCT n.view FROM need AS n JOIN coded AS f ON f.function OPERATOR(pg_catalog.=) n.object \
 WHERE n.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid), \
reading (view, object, part) AS (\
 SELECT n.view, n.object, n.part FROM need AS n \
 WHERE n.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid), \
reached (view) AS (\
 SELECT n.view FROM reading AS n WHERE n.object OPERATOR(pg_catalog.=) \
 ANY (SELECT relation FROM candidate UNION ALL SELECT relation FROM statistic) \
 UNION SELECT view FROM coding \
 UNION SELECT n.view FROM reached AS r JOIN reading AS n ON n.object OPERATOR(pg_catalog.=) r.view), \
tree (view, text) AS (\
 SELECT d.view, w.ev_action::pg_catalog.text FROM reached AS r \
 JOIN definition AS d ON d.view OPERATOR(pg_catalog.=) r.view \
 JOIN pg_catalog.pg_rewrite AS w ON w.oid OPERATOR(pg_catalog.=) d.rule), \
single (view, text) AS (\
 SELECT view, text FROM tree WHERE text OPERATOR(pg_catalog.!~) '[{]QUERY .*[{]QUERY ' \
 AND text OPERATOR(pg_catalog.~) ' :hasAggs false :hasWindowFuncs false :hasTargetSRFs false :hasSubLinks false :hasDistinctOn false ' \
 AND text OPERATOR(pg_catalog.~) ' :cteList [<]> ' AND text OPERATOR(pg_catalog.~) ' :groupClause [<]> ' \
 AND text OPERATOR(pg_catalog.~) ' :setOperations [<]> '), \
part (view, attribute, made) AS (\
 SELECT s.view, m[2], m[1] FROM single AS s, pg_catalog.regexp_split_to_table(s.text, '[{]TARGETENTRY :expr ') AS piece, \
 pg_catalog.regexp_matches(piece, '^(.*?) :resno ([0-9]+) :resname ') AS m \
 WHERE m[1] OPERATOR(pg_catalog.!~) '[{](?!(?:VAR|CONST|FUNCEXPR|OPEXPR|BOOLEXPR|RELABELTYPE|CASE|CASEEXPR|WHEN|CASEWHEN|COALESCE|COALESCEEXPR|NULLTEST) )' \
 AND NOT EXISTS (SELECT FROM pg_catalog.regexp_matches(m[1], ' :(?:funcid|opfuncid) ([0-9]+) ', 'g') AS f \
 LEFT JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) f[1]::pg_catalog.oid \
 WHERE p.oid IS NULL OR p.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid \
 OR p.provolatile OPERATOR(pg_catalog.<>) 'i'::pg_catalog.\"char\")), \
place (view, number, relation) AS (\
 SELECT s.view, r.number::pg_catalog.text, CASE WHEN r.m[1] OPERATOR(pg_catalog.=) '0' THEN r.m[2] ELSE '0' END FROM single AS s, \
 pg_catalog.regexp_matches(s.text, ' :rtekind ([0-9]+) (?::relid ([0-9]+) )?', 'g') WITH ORDINALITY AS r (m, number)) \
SELECT 'a'::pg_catalog.text, k.relation::pg_catalog.text, k.attribute::pg_catalog.text, \
 pg_catalog.substring(pg_catalog.array_to_string(a.attfdwoptions, ','), 'column_name=([^,]*)'), \
 pg_catalog.substring(pg_catalog.array_to_string(t.ftoptions, ','), 'table_name=([^,]*)'), \
 n.nspname::pg_catalog.text, c.relname::pg_catalog.text, k.name::pg_catalog.text \
 FROM candidate AS k JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) k.relation \
 JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
 JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) k.relation AND a.attnum OPERATOR(pg_catalog.=) k.attribute \
 LEFT JOIN pg_catalog.pg_foreign_table AS t ON t.ftrelid OPERATOR(pg_catalog.=) k.relation \
 WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,c}'::pg_catalog.\"char\"[]) \
UNION ALL SELECT 'e', a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text, \
 CASE WHEN f.function IS NULL THEN d.refobjid ELSE '0'::pg_catalog.oid END::pg_catalog.text, d.refobjsubid::pg_catalog.text, NULL, NULL, a.attname::pg_catalog.text \
 FROM pg_catalog.pg_attribute AS a LEFT JOIN pg_catalog.pg_attrdef AS v \
 ON v.adrelid OPERATOR(pg_catalog.=) a.attrelid AND v.adnum OPERATOR(pg_catalog.=) a.attnum \
 JOIN pg_catalog.pg_depend AS d ON (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
 AND d.objid OPERATOR(pg_catalog.=) a.attrelid AND d.objsubid OPERATOR(pg_catalog.=) a.attnum) \
 OR (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid AND d.objid OPERATOR(pg_catalog.=) v.oid) \
 LEFT JOIN coded AS f ON f.function OPERATOR(pg_catalog.=) d.refobjid \
 AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid \
 WHERE a.attgenerated OPERATOR(pg_catalog.<>) ''::pg_catalog.\"char\" AND NOT a.attisdropped \
 AND (f.function IS NOT NULL OR (d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid \
 AND d.refobjid OPERATOR(pg_catalog.=) a.attrelid AND d.refobjsubid OPERATOR(pg_catalog.<>) a.attnum \
 AND d.refobjsubid OPERATOR(pg_catalog.>) 0)) \
UNION ALL SELECT 'y', a.attrelid::pg_catalog.text, a.attnum::pg_catalog.text, e.typrelid::pg_catalog.text, NULL, NULL, NULL, a.attname::pg_catalog.text \
 FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid \
 JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid \
 JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) ANY (ARRAY[t.oid, t.typelem, t.typbasetype]) \
 WHERE e.typrelid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid AND NOT a.attisdropped \
 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,c}'::pg_catalog.\"char\"[]) \
UNION ALL SELECT DISTINCT 'p', NULL, NULL, NULL, NULL, NULL, NULL, o.oprname::pg_catalog.text \
 FROM pg_catalog.pg_operator AS o JOIN coded AS f ON f.function OPERATOR(pg_catalog.=) o.oprcode::pg_catalog.oid \
UNION ALL SELECT DISTINCT 'k', NULL, NULL, NULL, NULL, NULL, NULL, NULL \
 FROM pg_catalog.pg_cast AS o JOIN coded AS f ON f.function OPERATOR(pg_catalog.=) o.castfunc \
UNION ALL SELECT 's', relation::pg_catalog.text, attribute::pg_catalog.text, NULL, NULL, NULL, NULL, name::pg_catalog.text FROM statistic \
UNION ALL SELECT 'r', oid::pg_catalog.text, relnatts::pg_catalog.text, relpersistence::pg_catalog.text, NULL, NULL, NULL, relname::pg_catalog.text FROM pg_catalog.pg_class \
 WHERE relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S}'::pg_catalog.\"char\"[]) \
UNION ALL SELECT 'h', inhrelid::pg_catalog.text, inhparent::pg_catalog.text, NULL, NULL, NULL, NULL, NULL FROM pg_catalog.pg_inherits \
UNION ALL SELECT 'n', r.view::pg_catalog.text, a.attnum::pg_catalog.text, NULL, NULL, NULL, NULL, a.attname::pg_catalog.text \
 FROM reached AS r JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) r.view \
 WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
UNION ALL SELECT 'o', t.view::pg_catalog.text, m[1], m[2], m[3], NULL, NULL, NULL FROM tree AS t, \
 pg_catalog.regexp_matches(t.text, E':resno (\\\\d+) :resname (?!<> )(?:\\\\\\\\.|[^ \\\\\\\\])+ :ressortgroupref \\\\d+ :resorigtbl (\\\\d+) :resorigcol (\\\\d+)', 'g') AS m \
UNION ALL SELECT 'd', n.view::pg_catalog.text, n.object::pg_catalog.text, n.part::pg_catalog.text, NULL, NULL, NULL, NULL \
 FROM reached AS r JOIN reading AS n ON n.view OPERATOR(pg_catalog.=) r.view \
UNION ALL SELECT 'x', p.view::pg_catalog.text, p.attribute, \
 CASE WHEN v IS NULL THEN NULL ELSE COALESCE(l.relation, '0') END, v[2], NULL, NULL, NULL FROM part AS p \
 LEFT JOIN LATERAL pg_catalog.regexp_matches(p.made, '[{]VAR :varno ([0-9]+) :varattno (-?[0-9]+) ', 'g') AS v ON true \
 LEFT JOIN place AS l ON l.view OPERATOR(pg_catalog.=) p.view AND l.number OPERATOR(pg_catalog.=) v[1] \
UNION ALL SELECT 'w', view::pg_catalog.text, NULL, NULL, NULL, NULL, NULL, NULL FROM tree WHERE text OPERATOR(pg_catalog.~) ':varattno 0 ' \
UNION ALL SELECT 'g', view::pg_catalog.text, NULL, NULL, NULL, NULL, NULL, NULL FROM coding \
UNION ALL SELECT DISTINCT 'f', CASE WHEN f.function IS NULL THEN '0' ELSE '1' END, p.provolatile::pg_catalog.text, \
 p.proretset::pg_catalog.text, NULL, NULL, NULL, p.proname::pg_catalog.text \
 FROM pg_catalog.pg_proc AS p LEFT JOIN coded AS f ON f.function OPERATOR(pg_catalog.=) p.oid";

#[cfg(test)]
mod tests {
    use weir_policy::MaskMethod;

    use super::*;

    fn rules(columns: &[&str]) -> Vec<ColumnMask> {
        let rule = |column: &&str| ColumnMask {
            rule: (*column).into(),
            schema: None,
            table: None,
            column: (*column).into(),
            method: MaskMethod::Token,
            refuses_expressions: false,
        };
        columns.iter().map(rule).collect()
    }

    #[test]
    fn the_question_quotes_names_and_qualifies_every_operator() {
        let text = question(&rules(&["it's", "ssn", "Ssn"]), &[]);
        assert!(text.contains("ARRAY['it''s', 'ssn']"), "{text}");
        assert!(
            !text.contains("$NAMES")
                && !text.contains("$OTHER")
                && !text.contains("$PINNED")
                && !text.contains(" OR a.attname")
        );
        let bare = [" = ", " < ", " > ", " <> ", " ~ ", " IN (", " LIKE "];
        let found = bare.iter().find(|operator| text.contains(**operator));
        assert_eq!(found, None);
        assert!(question(&rules(&["größe"]), &[]).contains("OPERATOR(pg_catalog.~) '[^ -~]'"));
    }
}
