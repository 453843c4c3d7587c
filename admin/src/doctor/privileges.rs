//! What a role may do on its server past every rule: asked of the server's own catalog, as that role, by reading alone.

use anyhow::{Context as _, Result};
use weir_postgres::quoted_text;

use super::Report;
use crate::reach::Conversation;

/// Names that one line lists.
const LISTED: usize = 10;

/// One check that lists what should not be there. `ROLE` stands for the role's name as a text.
struct Listing {
    check: &'static str,
    /// One column: a name each.
    sql: &'static str,
    fails: bool,
    none: &'static str,
    some: &'static str,
    mend: &'static str,
}

const LISTINGS: [Listing; 9] = [
    Listing {
        check: "superuser",
        sql: "SELECT rolname FROM pg_catalog.pg_roles WHERE rolsuper AND pg_catalog.pg_has_role(ROLE, oid, 'MEMBER')",
        fails: true,
        none: "no superuser, and a member of none",
        some: "is or may become superuser",
        mend: "ALTER ROLE ... NOSUPERUSER, REVOKE the memberships: no privilege and no rule binds a superuser",
    },
    Listing {
        check: "attributes",
        sql: "SELECT rolname || ' ' || words FROM (SELECT oid, rolname, pg_catalog.concat_ws(' ',
                  CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolreplication THEN 'REPLICATION' END) AS words
              FROM pg_catalog.pg_roles WHERE NOT rolsuper) AS r
              WHERE words <> '' AND pg_catalog.pg_has_role(ROLE, oid, 'MEMBER')",
        fails: true,
        none: "no BYPASSRLS, no REPLICATION",
        some: "has",
        mend: "ALTER ROLE ... NOBYPASSRLS NOREPLICATION: the first sees every row, the second every byte",
    },
    Listing {
        check: "server-files",
        sql: "SELECT rolname FROM pg_catalog.pg_roles
              WHERE rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
              AND pg_catalog.pg_has_role(ROLE, oid, 'MEMBER')",
        fails: true,
        none: "reaches no file and no program of the server",
        some: "reaches files or programs of the server by",
        mend: "REVOKE the membership: a file holds every table",
    },
    Listing {
        check: "definers",
        sql: "SELECT n.nspname || '.' || p.proname FROM pg_catalog.pg_proc p
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
              WHERE p.prosecdef AND o.rolsuper AND n.nspname NOT IN ('pg_catalog', 'information_schema')
              AND pg_catalog.has_schema_privilege(ROLE, n.oid, 'USAGE')
              AND pg_catalog.has_function_privilege(ROLE, p.oid, 'EXECUTE') ORDER BY 1",
        fails: false,
        none: "executes no SECURITY DEFINER function of a superuser",
        some: "executes SECURITY DEFINER functions of superusers",
        mend: "REVOKE EXECUTE (FROM PUBLIC too), or give them an owner with the privileges that they need",
    },
    Listing {
        check: "servers",
        sql: "SELECT srvname FROM pg_catalog.pg_foreign_server
              WHERE pg_catalog.has_server_privilege(ROLE, oid, 'USAGE') ORDER BY 1",
        fails: false,
        none: "may use no foreign server",
        some: "may use foreign servers",
        mend: "REVOKE USAGE ON FOREIGN SERVER: what is read through them has other names than the rules",
    },
    Listing {
        check: "dblink",
        sql: "SELECT DISTINCT n.nspname || '.' || p.proname FROM pg_catalog.pg_proc p
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              JOIN pg_catalog.pg_depend d ON d.objid = p.oid AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                  AND d.deptype = 'e'
              JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
              WHERE e.extname IN ('dblink', 'adminpack', 'file_fdw', 'pageinspect')
              AND pg_catalog.has_schema_privilege(ROLE, n.oid, 'USAGE')
              AND pg_catalog.has_function_privilege(ROLE, p.oid, 'EXECUTE') ORDER BY 1",
        fails: false,
        none: "executes no function that runs SQL elsewhere or reads pages",
        some: "executes functions that run SQL elsewhere or read pages",
        mend: "REVOKE EXECUTE FROM PUBLIC: what they run is a text that no rule reads",
    },
    Listing {
        check: "languages",
        sql: "SELECT n.nspname || '.' || p.proname || ' (' || l.lanname || ')' FROM pg_catalog.pg_proc p
              JOIN pg_catalog.pg_language l ON l.oid = p.prolang JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              WHERE l.lanispl AND NOT l.lanpltrusted AND pg_catalog.has_schema_privilege(ROLE, n.oid, 'USAGE')
              AND pg_catalog.has_function_privilege(ROLE, p.oid, 'EXECUTE') ORDER BY 1",
        fails: false,
        none: "executes no code in an untrusted language",
        some: "executes code in untrusted languages",
        mend: "REVOKE EXECUTE (FROM PUBLIC too): such code does as the server's own user may",
    },
    Listing {
        check: "create",
        sql: "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
              AND pg_catalog.has_schema_privilege(ROLE, oid, 'CREATE')
              UNION ALL SELECT 'the database itself'
              WHERE pg_catalog.has_database_privilege(ROLE, pg_catalog.current_database(), 'CREATE') ORDER BY 1",
        fails: false,
        none: "makes nothing in any schema",
        some: "may make tables, views and functions in",
        mend: "REVOKE CREATE ON SCHEMA (FROM PUBLIC too, on servers from before 15)",
    },
    Listing {
        check: "others-statements",
        sql: "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('pg_monitor', 'pg_read_all_stats', 'pg_read_all_data')
              AND pg_catalog.pg_has_role(ROLE, oid, 'MEMBER') ORDER BY 1",
        fails: false,
        none: "sees neither all data nor others' statements",
        some: "sees all data, or the statements of others, by",
        mend: "REVOKE the membership, and grant what is needed",
    },
];

/// Asks the server about `role`, which is the one logged in or one that it is a member of.
///
/// # Errors
/// The upstream's: it is gone. What it refuses to tell is a finding.
pub(super) async fn look(
    server: &mut Conversation,
    role: &str,
    protected: &[String],
    about: &str,
    report: &mut Report,
) -> Result<()> {
    for listing in &LISTINGS {
        let Listing { check, fails, none, some, mend, .. } = listing;
        match ask(server, listing.sql, role).await? {
            Err(said) => report.warn(about, check, said, "what the server does not tell, see for yourself"),
            Ok(names) if names.is_empty() => report.ok(about, check, format!("{role} {none}")),
            Ok(names) if *fails => {
                report.fail(about, check, format!("{role} {some} {}", list(&names)), *mend)
            }
            Ok(names) => report.warn(about, check, format!("{role} {some} {}", list(&names)), *mend),
        }
    }
    columns(server, role, protected, about, report).await
}

/// Columns that a mask rule protects, and that the role may read by whatever else can log in as it.
async fn columns(
    server: &mut Conversation,
    role: &str,
    protected: &[String],
    about: &str,
    report: &mut Report,
) -> Result<()> {
    const CHECK: &str = "protected-columns";
    if protected.is_empty() {
        report.ok(about, CHECK, "no column rule is about its sessions");
        return Ok(());
    }
    let any: Vec<String> = protected.iter().map(|column| condition(column)).collect();
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_catalog.pg_attribute a
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
         AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND ({})
         AND pg_catalog.has_schema_privilege(ROLE, n.oid, 'USAGE')
         AND pg_catalog.has_column_privilege(ROLE, c.oid, a.attnum, 'SELECT') ORDER BY 1 LIMIT 1000",
        any.join(" OR ")
    );
    match ask(server, &sql, role).await? {
        Err(said) => report.warn(about, CHECK, said, "what the server does not tell, see for yourself"),
        Ok(names) if names.is_empty() => {
            report.ok(about, CHECK, format!("{role} may select none of the columns that rules protect"));
        }
        Ok(names) => report.warn(
            about,
            CHECK,
            format!("{role} may select {}", list(&names)),
            "masks hide them in answers alone; where nobody needs them, REVOKE SELECT on the table and GRANT SELECT \
             (the other columns) is the stronger fence",
        ),
    }
    Ok(())
}

/// `column`, `table.column` or `schema.table.column`, as rules compare them: without regard to case.
fn condition(column: &str) -> String {
    let mut parts = column.rsplit('.');
    let names = ["a.attname", "c.relname", "n.nspname"].into_iter().zip(&mut parts);
    let equal = names.map(|(name, part)| {
        format!("pg_catalog.lower({name}::pg_catalog.text) = pg_catalog.lower({})", quoted_text(part))
    });
    format!("({})", equal.collect::<Vec<_>>().join(" AND "))
}

/// The first column of the rows, or what the server said instead.
async fn ask(server: &mut Conversation, sql: &str, role: &str) -> Result<Result<Vec<String>, String>> {
    let sql = sql.replace("ROLE", &quoted_text(role));
    let answer = server.run(&sql).await.context("the upstream broke off")?;
    Ok(match answer {
        Ok(rows) => Ok(rows.into_iter().filter_map(|row| row.into_iter().next()?).collect()),
        Err(said) => Err(said.to_string()),
    })
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(LISTED) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
