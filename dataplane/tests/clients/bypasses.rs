//! What went past the gateway, found in the server's own log; and what the record has and the log lacks.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::appliance::{Appliance, Who, text};
use crate::raw::{Raw, message};

/// The direct statements; one of them says the same as one through the gateway.
const DIRECT: [&str; 3] = [
    "SELECT count(*) FROM visits",
    "SELECT ssn FROM patients WHERE id = 7",
    "UPDATE visits SET id = id WHERE id = 1",
];

/// The sample server, keeping its CSV log of every statement from now on.
fn logging(appliance: &Appliance) -> PathBuf {
    let superuser = |sql: &str| {
        let mut psql = Command::new("psql");
        psql.arg(appliance.var("WEIR_PG_SUPERUSER")).args(["-XAtq", "-c", sql]).output().unwrap()
    };
    for (name, value) in [
        ("logging_collector", "on"),
        ("log_destination", "csvlog"),
        ("log_statement", "all"),
        ("log_timezone", "UTC"),
        ("shared_preload_libraries", "pgaudit"),
    ] {
        let set = superuser(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        assert!(set.status.success(), "{}", text(&set.stderr));
    }
    let data = text(&superuser("SHOW data_directory").stdout).trim().to_owned();
    // Ended, it is started again as the service manager would.
    let postmaster = fs::read_to_string(format!("{data}/postmaster.pid")).unwrap();
    let pid = postmaster.lines().next().unwrap().to_owned();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    Appliance::until("the server's log", || {
        let again = superuser("SHOW logging_collector");
        (text(&again.stdout).trim() == "on").then_some(())
    });
    // What pgaudit brings with it can be set once it is there.
    for sql in ["ALTER SYSTEM SET pgaudit.log = 'all'", "SELECT pg_reload_conf()"] {
        let set = superuser(sql);
        assert!(set.status.success(), "{}", text(&set.stderr));
    }
    Appliance::until("pgaudit to log", || {
        (text(&superuser("SHOW pgaudit.log").stdout).trim() == "all").then_some(())
    });
    Appliance::until("the gateway to reach the server again", || {
        appliance.psql(Who::Job, "SELECT 1").status.success().then_some(())
    });
    PathBuf::from(data).join("log")
}

/// Seven simple statements in three sessions, one of them with an error, and three in one session with bind values.
fn through(appliance: &Appliance) {
    for (who, sql) in [
        (Who::Job, "SELECT count(*) FROM visits"),
        (Who::Job, "SELECT id, ssn FROM patients WHERE id < 4"),
        (Who::Job, "SELECT 1 AS one; SELECT 2 AS two"),
        (Who::Analyst, "SELECT email FROM patients WHERE ssn = '123-45-6789'"),
        (Who::Privileged, "SELECT no_such_column FROM patients"),
        (Who::Privileged, "SELEC nonsense"),
        (Who::Privileged, "CREATE TEMP TABLE t AS SELECT 1 AS a"),
    ] {
        let _some_fail = appliance.psql(who, sql);
    }
    let mut raw = Raw::session(appliance, Who::Job);
    for id in ["1", "22", "333"] {
        let bind = [
            b"\0\0\0\x01".as_slice(),
            &u32::try_from(id.len()).unwrap().to_be_bytes(),
            id.as_bytes(),
            b"\0\0",
        ];
        let sent = [
            message(b'P', b"\0SELECT name FROM patients WHERE id = $1\0\0\0"),
            message(b'B', &[b"\0\0".as_slice(), &bind.concat()].concat()),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        raw.send(&sent.concat());
        raw.answer().unwrap();
    }
}

fn reconcile(appliance: &Appliance, backend: &str, logs: &[PathBuf]) -> (Output, Value) {
    let logs: Vec<&str> = logs.iter().map(|path| path.to_str().unwrap()).collect();
    let arguments =
        [&["reconcile", "--backend", backend, "--user", "weir_clinic", "--json"], logs.as_slice()].concat();
    let output = appliance.admin(&arguments);
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    (output, told)
}

#[test]
fn exactly_the_statements_that_bypassed_the_gateway_are_listed() {
    let appliance = Appliance::start();
    let folder = logging(&appliance);
    through(&appliance);
    for sql in DIRECT {
        let mut direct = Command::new("psql");
        // Calling itself after a recorded session helps nobody.
        direct.arg(appliance.var("WEIR_PG_UPSTREAM")).args(["-XAtq", "-c", sql]);
        assert!(direct.output().unwrap().status.success());
    }
    Appliance::until("every session's end in the record", || {
        let list = appliance.admin(&["sessions", "list", "--json"]).stdout;
        let list: Value = serde_json::from_slice(&list).ok()?;
        list.as_array()?.iter().all(|one| one["close_reason"].is_string()).then_some(())
    });
    let logs = || -> Vec<PathBuf> {
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "csv")).collect()
    };
    // The server's collector writes a moment later than the server answers.
    Appliance::until("the server's last line", || {
        let written: String = logs().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        written.contains(DIRECT[2]).then_some(())
    });
    let texts = |told: &Value| -> Vec<String> {
        told["bypassed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["text"].as_str().unwrap().to_owned())
            .collect()
    };
    let (output, told) = reconcile(&appliance, "csvlog", &logs());
    assert_eq!(texts(&told), DIRECT, "{told}");
    let (_, audited) = reconcile(&appliance, "pgaudit", &logs());
    assert_eq!(texts(&audited), DIRECT, "pgaudit: {audited}");
    assert!(audited["by_address"].as_u64() >= Some(8), "{audited}");
    assert_eq!(told["unseen"], serde_json::json!([]), "{told}");
    assert!(told["by_address"].as_u64() >= Some(10), "{told}");
    assert_eq!(output.status.code(), Some(1));

    // A log that lost a line, and with it a command of the record; and one whose direct lines are taken out.
    let changed = appliance.dir.join("changed.csv");
    let written: String = logs().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let kept = |drop: &dyn Fn(&str) -> bool| -> String {
        written.split_inclusive('\n').filter(|line| !drop(line)).collect()
    };
    fs::write(&changed, kept(&|line| line.contains("WHERE id < 4"))).unwrap();
    let (_, told) = reconcile(&appliance, "csvlog", std::slice::from_ref(&changed));
    assert_eq!(told["unseen"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(told["unseen"][0]["text"], "SELECT id, ssn FROM patients WHERE id < 4");
    let ports: Vec<String> = told["bypassed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["client"].as_str().unwrap().to_owned())
        .collect();
    fs::write(&changed, kept(&|line| ports.iter().any(|port| line.contains(port)))).unwrap();
    let (output, told) = reconcile(&appliance, "csvlog", std::slice::from_ref(&changed));
    assert_eq!((output.status.code(), told["bypassed"].as_array().unwrap().len()), (Some(0), 0), "{told}");

    fs::write(&changed, "this is no log\n").unwrap();
    for (file, words) in [(changed.to_str().unwrap(), "no csvlog record"), ("/nowhere.csv", "cannot read")] {
        let output = appliance.admin(&["reconcile", "--backend", "csvlog", file]);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
