//! A protected column that its owner renames past the gateway: it stays masked under its new name, and somebody is told.

use std::path::Path;

use crate::appliance::{Appliance, Who, text};
use crate::raw::Raw;

fn log(appliance: &Appliance) -> String {
    std::fs::read_to_string(Path::new(appliance.var("WEIR_LOGS")).join("dataplane.log")).unwrap_or_default()
}

/// A session that reads the catalog anew before its next command.
fn session(appliance: &Appliance) -> Raw {
    let mut raw = Raw::session(appliance, Who::Job);
    assert_eq!(raw.query("CREATE TEMP TABLE something (a int)"), Ok(vec![]));
    raw
}

#[test]
fn a_protected_column_that_is_renamed_stays_masked_and_raises_an_alarm_once() {
    let appliance = Appliance::start();
    let real = appliance.direct("SELECT mrn FROM patients WHERE id = 7");
    let shown = |sql: &str| {
        let output = appliance.psql(Who::Job, sql);
        (text(&output.stdout), text(&output.stderr))
    };
    let token = session(&appliance).query("SELECT mrn FROM patients WHERE id = 7").unwrap();
    assert!(token[0].starts_with("tok_"), "{token:?}");
    appliance.alter("ALTER TABLE patients RENAME COLUMN mrn TO plate");
    for _ in 0..2 {
        let mut raw = session(&appliance);
        assert_eq!(raw.query("SELECT plate FROM patients WHERE id = 7"), Ok(token.clone()));
        assert_eq!(raw.query("SELECT name FROM patients WHERE id = 7"), Ok(vec!["Hana Hale".to_owned()]));
    }
    let (out, err) = shown("CREATE TEMP TABLE x (a int); SELECT reverse(plate) FROM patients WHERE id = 7");
    assert_eq!((out.trim(), err.as_str()), ("", ""), "an expression over it");
    let (_, err) = shown("UPDATE patients SET name = plate WHERE id = 7");
    assert!(err.contains("refused by rule mrn-column: it would store plate"), "{err}");
    let alarm =
        r#"{"alarm":"renamed","rule":"mrn-column","was":"public.patients.mrn","is":"public.patients.plate"}"#;
    Appliance::until("the alarm", || log(&appliance).contains("alarm: ").then_some(()));
    let told = log(&appliance).matches(alarm).count();
    assert_eq!(told, 1, "{}", log(&appliance));
    // It is in the record as well.
    Appliance::until("the record", || {
        let lines = text(&appliance.admin(&["sessions", "export"]).stdout);
        lines.contains("\"alarm\"").then(|| assert!(!lines.contains(real.trim())))
    });
    // The table itself under another name.
    appliance.alter("ALTER TABLE patients RENAME TO people");
    let mut raw = session(&appliance);
    assert_eq!(raw.query("SELECT plate FROM people WHERE id = 7"), Ok(token));
}
