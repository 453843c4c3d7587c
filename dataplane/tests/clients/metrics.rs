//! What monitoring is told: each count moves by exactly what was done, in a form that Prometheus' own parser takes.

use std::collections::BTreeMap;
use std::process::Command;

use crate::appliance::{Appliance, Who, run_with_input, text};
use crate::raw::Raw;

/// Reads the exposition as Prometheus' client library does, and adds up what differs in the core alone.
const PARSER: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families as families
for family in families(sys.stdin.read()):
    assert family.documentation and family.type != 'unknown', family
    for sample in family.samples:
        labels = ','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()) if k != 'core')
        print(f'{sample.name}{{{labels}}}\\t{sample.value}')
";

fn ask(appliance: &Appliance, path: &str) -> (String, String) {
    let url = format!("{}{path}", appliance.var("WEIR_METRICS_URL"));
    let output = Command::new("curl").args(["-s", "-w", "\n%{http_code}", &url]).output().unwrap();
    let said = text(&output.stdout);
    let (body, code) = said.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

fn metrics(appliance: &Appliance) -> BTreeMap<String, f64> {
    let (code, body) = ask(appliance, "/metrics");
    assert_eq!(code, "200");
    let mut python = Command::new("python3");
    python.args(["-c", PARSER]);
    let parsed = run_with_input(python, body.as_bytes());
    assert!(parsed.status.success(), "{}\n{body}", text(&parsed.stderr));
    let mut sums = BTreeMap::new();
    for line in text(&parsed.stdout).lines() {
        let (name, value) = line.split_once('\t').unwrap();
        *sums.entry(name.trim_end_matches("{}").to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap();
    }
    sums
}

/// What moved between two readings.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let change = |(name, value): (&String, &f64)| {
        let by = value - before.get(name).copied().unwrap_or_default();
        (by != 0.0).then(|| (name.clone(), by))
    };
    after.iter().filter_map(change).collect()
}

#[test]
fn each_count_moves_by_exactly_what_was_done() {
    let appliance = Appliance::start();
    // What the appliance's own start-up asked is over.
    Appliance::until("silence", || {
        let now = metrics(&appliance);
        (now.get("weir_connections") == Some(&0.0)).then_some(())
    });
    let before = metrics(&appliance);
    let mut raw = Raw::session(&appliance, Who::Job);
    for _ in 0..10 {
        raw.query("SELECT 1").unwrap();
        raw.query("DROP TABLE patients").unwrap_err();
    }
    drop(raw);
    for _ in 0..10 {
        let refused = appliance.psql_with("clinic", "job", "no token at all", "SELECT 1");
        assert!(!refused.status.success());
    }
    let moved = Appliance::until("the session to end", || {
        let now = metrics(&appliance);
        (now.get("weir_connections") == Some(&0.0)
            && now.get("weir_sessions_ended_total") > before.get("weir_sessions_ended_total"))
        .then(|| moved(&before, &now))
    });
    let expected = [
        ("weir_connections_accepted_total", 11.0),
        ("weir_connections_refused_total", 10.0),
        ("weir_sessions_opened_total", 1.0),
        ("weir_sessions_ended_total", 1.0),
        ("weir_requests_total", 20.0),
        ("weir_requests_denied_total{rule=no-drop}", 10.0),
        ("weir_login_duration_seconds_count", 1.0),
        ("weir_login_duration_seconds_bucket{le=+Inf}", 1.0),
    ];
    for (name, by) in expected {
        assert_eq!(moved.get(name), Some(&by), "{name} in {moved:#?}");
    }
    let told = |name: &&String| {
        !name.starts_with("weir_login_duration")
            && !name.starts_with("weir_ring")
            && expected.iter().all(|(it, _)| it != name)
    };
    assert_eq!(moved.keys().find(told), None, "{moved:#?}");
}

#[test]
fn readiness_follows_what_new_sessions_depend_on() {
    let appliance = Appliance::start();
    assert_eq!(ask(&appliance, "/healthz"), ("200".into(), "alive\n".into()));
    assert_eq!(ask(&appliance, "/readyz"), ("200".into(), "ready\n".into()));
    assert_eq!(ask(&appliance, "/else").0, "404");
    appliance.signal("weir-recorder", "-STOP");
    appliance.signal("weir-recorder", "-KILL");
    // It is started again at once; in between, or after, the answer is never a lie about the gateway itself.
    Appliance::until("readiness again", || (ask(&appliance, "/readyz").0 == "200").then_some(()));
    assert!(appliance.psql(Who::Job, "SELECT 1").status.success());
}
