//! psql's large objects, which libpq reads and writes by FunctionCall messages: each call is decided by its function's name.

use std::fs;
use std::process::Output;

use crate::appliance::{Appliance, Who, text};

const RULE: &str = r#"
[[rule]]
id = "no-large-objects"
about = "Large objects have no columns to mask."
for = { connections = ["clinic"], roles = ["job"] }
action = "block"
message = "large objects are not permitted on this connection"
sql.functions = ["lo_*", "loread", "lowrite"]
sql.samples.match = ["SELECT lo_open(1, 131072)", "SELECT pg_catalog.loread(0, 10)"]
sql.samples.pass = ["SELECT lower('x')", "SELECT * FROM visits"]
sql.samples.evade = ["select \"lo_open\"/**/(1, 2)", "SELECT U&\"lo\\005fopen\"(1, 2)"]
"#;

fn psql(appliance: &Appliance, commands: &[&str]) -> Output {
    let database = appliance.var("WEIR_PG_DATABASE");
    let mut psql = appliance.client("psql", database, "job", &appliance.token(Who::Job));
    psql.args(["-XAtq", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1"]);
    for command in commands {
        psql.args(["-c", command]);
    }
    psql.output().unwrap()
}

#[test]
fn large_objects_pass_by_name_and_a_rule_on_the_name_stops_them() {
    let appliance = Appliance::start();
    let (from, to) = (appliance.dir.with_extension("from"), appliance.dir.with_extension("to"));
    // Several pieces of what libpq reads and writes at a time.
    let contents: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    fs::write(&from, &contents).unwrap();

    let import = format!("\\lo_import '{}'", from.display());
    let said = psql(&appliance, &[&import, "\\echo :LASTOID"]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let oid = text(&said.stdout).lines().last().unwrap().trim().to_owned();
    let export = format!("\\lo_export {oid} '{}'", to.display());
    let said = psql(&appliance, &[&export]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(fs::read(&to).unwrap() == contents, "the object came back changed");

    appliance.add_policy("large-objects.toml", RULE);
    let denied = Appliance::until("the new policy", || {
        let said = psql(&appliance, &[&export]);
        (!said.status.success()).then(|| text(&said.stderr))
    });
    for part in ["no-large-objects", "large objects are not permitted on this connection"] {
        assert!(denied.contains(part), "{denied}");
    }
    let said = psql(&appliance, &[&import]);
    assert!(
        !said.status.success() && text(&said.stderr).contains("no-large-objects"),
        "{}",
        text(&said.stderr)
    );
    // By SQL it is the same call, and the connection goes on.
    let said = psql(&appliance, &[&format!("SELECT lo_open({oid}, 131072)")]);
    assert!(text(&said.stderr).contains("no-large-objects"), "{}", text(&said.stderr));
    assert_eq!(text(&psql(&appliance, &["SELECT 'still here'"]).stdout).trim(), "still here");
}
