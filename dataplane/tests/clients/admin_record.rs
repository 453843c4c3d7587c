//! What people do and read through the admin service is in the chain before it happens; what cannot be recorded does not
//! happen.

use std::process::Stdio;

use serde_json::Value;

use crate::appliance::{Appliance, Who, text};

/// The administrative events of the record, in order.
fn actions(appliance: &Appliance) -> Vec<Value> {
    let output = appliance.admin(&["sessions", "export"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == "admin").map(|event| event["action"].clone()).collect()
}

fn find<'a>(actions: &'a [Value], action: &str) -> &'a Value {
    actions.iter().find(|one| one["action"] == action).unwrap_or_else(|| panic!("no {action} in {actions:?}"))
}

/// `weir-admin` as the administrator.
fn administrator(appliance: &Appliance, arguments: &[&str]) -> std::process::Output {
    let token = appliance.var("WEIR_ADMIN_TOKEN_FILE").to_owned();
    appliance.admin(&[arguments, &["--token-file", &token]].concat())
}

#[test]
fn answers_changes_logins_and_reads_are_in_the_chain() {
    let appliance = Appliance::start();
    let token = appliance.token(Who::Job);
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    let held = psql.args(["-XAtq", "-c", "DELETE FROM visits"]).stdout(Stdio::null()).stderr(Stdio::null());
    let held = held.spawn().unwrap();
    let hold = Appliance::until("the command to be held", || {
        let list: Value =
            serde_json::from_slice(&appliance.admin(&["approvals", "list", "--json"]).stdout).ok()?;
        Some(list.get(0)?["request"]["hold"].as_str()?.to_owned())
    });
    // Nobody but an approver may answer, and the attempt is told too.
    assert!(!administrator(&appliance, &["approvals", "approve", &hold]).status.success());
    assert!(appliance.admin(&["approvals", "show", &hold]).status.success());
    let approved = appliance.admin(&["approvals", "approve", &hold, "--reason", "ticket 812"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    assert!(held.wait_with_output().unwrap().status.success());
    assert!(administrator(&appliance, &["sessions", "live"]).status.success());
    assert!(administrator(&appliance, &["connections", "list"]).status.success());
    let revoked = ["identities", "revoke", "--issuer", "https://elsewhere.example", "--subject", "mallory"];
    let revoked = administrator(&appliance, &revoked);
    assert!(!revoked.status.success() || text(&revoked.stdout).contains("mallory"));
    let access = appliance.dir.join("access/clinic.toml");
    let changed = std::fs::read_to_string(&access).unwrap()
        + "\n[[grant]]\nconnection = \"clinic\"\nrole = \"analyst\"\ngroups = [\"auditing\"]\n";
    std::fs::write(&access, changed).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    Appliance::until("the change in the chain", || {
        actions(&appliance).iter().any(|one| one["action"] == "apply").then_some(())
    });

    let told = actions(&appliance);
    assert_eq!(told[0]["action"], "start", "{told:?}");
    assert_eq!(told[0]["access_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(find(&told, "login")["by"]["subject"], "olivia");
    let approvals: Vec<_> = told.iter().filter(|one| one["action"] == "approve").collect();
    assert_eq!(
        (&approvals[0]["by"]["subject"], &approvals[1]["by"]["subject"]),
        (&"root".into(), &"olivia".into())
    );
    assert_eq!(
        (&approvals[1]["reason"], &approvals[1]["hold"]),
        (&"ticket 812".into(), &hold.as_str().into())
    );
    let refused = find(&told, "refused");
    assert_eq!((&refused["asked"], &refused["by"]["subject"]), (&"approve".into(), &"root".into()));
    assert!(refused["why"].as_str().unwrap().contains("privacy-officers"), "{refused}");
    assert_eq!(find(&told, "read-hold")["hold"], hold.as_str());
    for read in ["read-holds", "read-sessions", "read-access"] {
        assert!(find(&told, read)["by"]["subject"].is_string());
    }
    assert_eq!(find(&told, "revoke")["revocation"]["subject"], "mallory");
    assert!(find(&told, "apply")["changes"].to_string().contains("auditing"), "{told:?}");
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
}

#[test]
fn what_cannot_be_recorded_does_not_happen() {
    let appliance = Appliance::start();
    let revoke = |subject: &str| {
        administrator(
            &appliance,
            &["identities", "revoke", "--issuer", "https://elsewhere.example", "--subject", subject],
        )
    };
    let list = || text(&administrator(&appliance, &["identities", "list", "--json"]).stdout);
    assert!(revoke("early").status.success());
    // Stopped, not killed: nobody takes what is in the rings, and nobody starts another.
    appliance.signal("weir-recorder", "-STOP");
    let late = revoke("late");
    appliance.signal("weir-recorder", "-CONT");
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("nothing is done unrecorded"), "{}", text(&late.stderr));
    Appliance::until("the recorder to answer again", || revoke("later").status.success().then_some(()));
    let list = list();
    assert!(list.contains("early") && list.contains("later") && !list.contains("\"late\""), "{list}");
    let told = Appliance::until("the word that it was not done", || {
        let told = actions(&appliance);
        told.iter().any(|one| one["action"] == "not-done").then_some(told)
    });
    assert!(find(&told, "not-done")["of_sequence"].as_u64() > Some(1));
    // One recorder ends and another begins: admin hands its ring to that one.
    appliance.signal("weir-recorder", "-KILL");
    Appliance::until("the new recorder to answer", || revoke("last").status.success().then_some(()));
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
}

/// The service follows what the recorder writes, whose segments it cannot open: nobody reads a segment or makes an index.
#[test]
fn recorded_sessions_are_listed_by_the_service_as_they_come_and_go() {
    let appliance = Appliance::start();
    let listed = |arguments: &[&str]| {
        let arguments = [&["sessions", "catalogue", "--json", "--subject", "job-7"], arguments].concat();
        let output = administrator(&appliance, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    let token = appliance.mint(&["--sub", "job-7", "--group", "jobs"]);
    let mut psql = appliance.client("psql", appliance.var("WEIR_PG_DATABASE"), "job", &token);
    psql.args(["-XAtq"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut psql = psql.spawn().unwrap();
    std::io::Write::write_all(psql.stdin.as_mut().unwrap(), b"SELECT 1;\nSELECT 2;\n").unwrap();
    let open = Appliance::until("the open session in the catalogue", || {
        let open = listed(&["--state", "open"]);
        open.first().filter(|one| one["allowed"].as_u64() >= Some(2)).cloned()
    });
    assert!(open["events"].as_u64() > Some(2) && open["role"] == "job", "{open}");
    drop(psql.stdin.take());
    assert!(psql.wait().unwrap().success());
    let closed = Appliance::until("its end in the catalogue", || {
        listed(&["--state", "closed"]).into_iter().find(|one| one["session"] == open["session"])
    });
    assert!(closed["closed_unix_ms"].is_u64(), "{closed}");
    assert!(listed(&["--state", "open"]).is_empty() && listed(&["--with", "hold"]).is_empty());
    // The same database, as a file; and made anew beside the service that follows.
    let file = appliance.dir.join("catalogue.db").display().to_string();
    let by_file = || {
        let output =
            appliance.admin(&["sessions", "list", "--json", "--catalogue", &file, "--subject", "job-7"]);
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    assert_eq!(by_file().last().unwrap()["events"], closed["events"]);
    let anew = appliance.admin(&["sessions", "reindex", "--catalogue", &file]);
    assert!(anew.status.success(), "{}", text(&anew.stderr));
    let read = by_file();
    assert_eq!(read.last().unwrap()["events"], closed["events"]);
    assert_eq!(listed(&[]).len(), read.len());
    let bad = administrator(&appliance, &["sessions", "catalogue", "--before", "nothing"]);
    assert_eq!(bad.status.code(), Some(2));
}
