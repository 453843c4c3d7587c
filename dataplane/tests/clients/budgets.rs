//! Rules with memory: what passes until a budget is spent, for whom, and what people may release for a whole run.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::appliance::{Appliance, text};
use crate::raw::{Raw, Said, message};

const POLICY: &str = r#"
[[rule]]
id = "paging"
for = { connections = ["clinic"], roles = ["job", "analyst"] }
action = "block"
budget = { rows = 100, within = "1h" }
sql.relations = ["visits"]
sql.samples.match = ["SELECT * FROM visits"]
sql.samples.pass = ["SELECT 1"]
sql.samples.evade = ["select * from/**/\"visits\""]

[[rule]]
id = "probing"
for = { connections = ["clinic"], roles = ["job", "analyst"] }
action = "hold"
hold = { approvers = ["privacy-officers"], run = { statements = 3, expires = "10m" } }
budget = { statements = 4, within = "1h", per = "run" }
sql.columns = ["patients.ssn"]
sql.samples.match = ["SELECT 1 FROM patients WHERE ssn LIKE '1%'"]
sql.samples.pass = ["SELECT name FROM patients LIMIT 1"]
sql.samples.evade = ["SELECT 1 FROM patients p WHERE (p.*)::text LIKE '%1%'", "SELECT 1 FROM patients p WHERE p::text LIKE '%1%'", "SELECT 1 FROM patients NATURAL JOIN other"]
"#;

/// An appliance under the sample's policy and these rules.
fn appliance() -> Appliance {
    let appliance = Appliance::start();
    appliance.add_policy("budgets.toml", POLICY);
    // In force once something of a budget was taken.
    let other = token(&appliance, "nobody-else", "waiting");
    Appliance::until("the budgets to be in force", || {
        assert!(psql(&appliance, &other, &["SELECT 1"]).status.success());
        (!budgets(&appliance).is_empty()).then_some(())
    });
    appliance
}

fn budgets(appliance: &Appliance) -> Vec<Value> {
    let output = appliance.admin(&[
        "budgets",
        "list",
        "--json",
        "--token-file",
        appliance.var("WEIR_ADMIN_TOKEN_FILE"),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
}

/// The token of a job of one run.
fn token(appliance: &Appliance, subject: &str, run: &str) -> String {
    appliance.mint(&["--sub", subject, "--group", "jobs", "--ttl", "10m", "--claim", &format!("run={run}")])
}

fn client(appliance: &Appliance, token: &str, commands: &[&str]) -> Command {
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", token);
    psql.args(["-XAtq", "-v", "VERBOSITY=verbose"]);
    psql.args(commands.iter().flat_map(|command| ["-c", command]));
    psql
}

fn psql(appliance: &Appliance, token: &str, commands: &[&str]) -> Output {
    client(appliance, token, commands).output().unwrap()
}

fn lines(output: &Output) -> usize {
    text(&output.stdout).lines().count()
}

fn pending(appliance: &Appliance) -> Vec<Value> {
    let output = appliance.admin(&["approvals", "list", "--json"]);
    serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
}

#[test]
fn rows_are_counted_over_all_sessions_of_an_identity_and_no_more_come_than_there_are() {
    let appliance = appliance();
    let ann = token(&appliance, "ann", "1");
    let first = psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 60"]);
    assert_eq!(lines(&first), 60, "{}", text(&first.stderr));
    // More than is left, and it says so itself: nothing of it runs.
    let over = psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 60", "SELECT 'on it goes'"]);
    assert_eq!(text(&over.stdout), "on it goes\n", "{}", text(&over.stderr));
    assert!(text(&over.stderr).contains("paging"), "{}", text(&over.stderr));
    // It does not say how many: 40 come, and not one more.
    let rest = psql(&appliance, &ann, &["SELECT id FROM visits"]);
    assert!(lines(&rest) <= 40, "{}", lines(&rest));
    assert!(text(&rest.stderr).contains("53400"), "{}", text(&rest.stderr));
    let spent = psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 1"]);
    assert!(!spent.status.success() && text(&spent.stderr).contains("paging"), "{}", text(&spent.stderr));
    // Nobody else's.
    let ben = token(&appliance, "ben", "1");
    assert_eq!(lines(&psql(&appliance, &ben, &["SELECT id FROM visits LIMIT 60"])), 60);
}

#[test]
fn no_form_of_fetching_rows_goes_uncounted() {
    let appliance = appliance();
    let forms: [&[&str]; 6] = [
        &["BEGIN", "DECLARE c CURSOR FOR SELECT id FROM visits", "FETCH 5000 FROM c"],
        &["PREPARE p AS SELECT id FROM visits", "EXECUTE p"],
        &["SELECT 1; SELECT id FROM visits"],
        &["COPY visits (id) TO STDOUT"],
        &["COPY (SELECT id FROM visits) TO STDOUT"],
        &["WITH v AS (SELECT id FROM visits) SELECT * FROM v"],
    ];
    for (at, form) in forms.iter().enumerate() {
        let one = token(&appliance, &format!("form-{at}"), "1");
        let output = psql(&appliance, &one, form);
        assert!(lines(&output) <= 101, "{form:?}: {} lines", lines(&output));
        assert!(text(&output.stderr).contains("53400"), "{form:?}: {}", text(&output.stderr));
    }
}

/// A driver's fetch size: one Bind, then an Execute for each page.
#[test]
fn pages_of_a_suspended_portal_are_counted_up_to_its_end() {
    let appliance = appliance();
    let job = token(&appliance, "pager", "1");
    let mut raw = Raw::log_in(&appliance, appliance.var("WEIR_PG_DATABASE"), "job", &job).unwrap();
    raw.query("BEGIN").unwrap();
    let sync = message(b'S', b"");
    let begin = [
        message(b'P', b"\0SELECT id FROM visits\0\0\0"),
        message(b'B', b"pages\0\0\0\0\0\0\0\0"),
        message(b'D', b"Ppages\0"),
        message(b'E', b"pages\0\0\0\0\x3c"),
    ];
    raw.send(&[begin.concat(), sync.clone()].concat());
    assert_eq!(raw.answer().unwrap().len(), 60);
    raw.send(&[message(b'E', b"pages\0\0\0\0\x3c"), sync].concat());
    let mut rows = 0;
    let end = loop {
        match raw.next() {
            Some((b'D', _)) => rows += 1,
            Some(last @ (b'E', _)) => break Said::of(&last),
            other => assert!(matches!(other, Some((b'T', _))), "{other:?}"),
        }
    };
    end.assert_fatal("53400", &["row budget"]);
    assert!(rows <= 40, "{rows} more");
}

#[test]
fn what_a_data_plane_leased_and_did_not_use_comes_back_when_it_ends() {
    let appliance = appliance();
    let ann = token(&appliance, "ann", "1");
    assert_eq!(lines(&psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 30"])), 30);
    appliance.signal("weir-dataplane", "-TERM");
    Appliance::until("the share to come back", || {
        budgets(&appliance)
            .iter()
            .any(|one| one["subject"] == "ann" && one["rows_leased"] == 30)
            .then_some(())
    });
    Appliance::until("the data plane to serve again", || {
        psql(&appliance, &ann, &["SELECT 1"]).status.success().then_some(())
    });
    assert_eq!(lines(&psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 70"])), 70);
    assert!(!psql(&appliance, &ann, &["SELECT id FROM visits LIMIT 1"]).status.success());
}

const PROBE: &str = "SELECT count(*) FROM patients WHERE ssn LIKE '123%'";

/// A probe that was held.
fn held_probe(appliance: &Appliance, token: &str) -> Child {
    let known = pending(appliance).len();
    let child = client(appliance, token, &[PROBE]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    Appliance::until("the probe to be held", || (pending(appliance).len() > known).then_some(()));
    child.unwrap()
}

#[test]
fn probing_a_protected_column_is_held_once_its_budget_is_spent_and_one_approval_may_release_a_run() {
    let appliance = appliance();
    let ann = token(&appliance, "ann", "run-7");
    let probes = [PROBE; 4];
    assert_eq!(lines(&psql(&appliance, &ann, &probes)), 4, "as many as there are");
    let (one, two) = (held_probe(&appliance, &ann), held_probe(&appliance, &ann));
    let holds = pending(&appliance);
    let hold = holds[0]["request"]["hold"].as_str().unwrap();
    assert_eq!(holds[0]["request"]["scope"]["most"]["statements"], 3);
    let wide = appliance.admin(&["approvals", "approve", hold, "--run", "--statements", "4"]);
    assert!(text(&wide.stderr).contains("1 to 3 statements"), "{}", text(&wide.stderr));
    let approved = appliance.admin(&["approvals", "approve", hold, "--run", "--reason", "ticket 9"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    for child in [one, two] {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "one answer releases both: {}", text(&done.stderr));
    }
    // One of the two was the command that was approved; the other took the first of three.
    let more = "SELECT count(*) FROM patients WHERE ssn LIKE '999%'";
    assert_eq!(lines(&psql(&appliance, &ann, &[more, more])), 2, "literals differ, the statement does not");
    let mut used_up = held_probe(&appliance, &ann);
    used_up.kill().unwrap();
    used_up.wait().unwrap();
    // Another statement, another run, another identity: not what was released.
    let releases = releases(&appliance);
    assert_eq!(
        releases.iter().filter(|reason| *reason == "released with its run").count(),
        4,
        "{releases:?}"
    );
}

/// Reasons of all releases in the record.
fn releases(appliance: &Appliance) -> Vec<String> {
    let output = appliance.admin(&["sessions", "export"]);
    let events = text(&output.stdout);
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let releases = events.filter(|event| event["kind"] == "release");
    releases.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
}
