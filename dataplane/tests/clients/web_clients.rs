//! Stock HTTP clients through the gateway: what each gets is masked by path and by pattern, whatever the answer's coding, and
//! long uploads in either framing arrive whole.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::appliance::{Who, text};
use crate::web::{CANARIES, MASKED, PATIENTS, Web, summed};

static WEB: LazyLock<Web> = LazyLock::new(Web::echoing);

/// What the upstream tells of the body that the scripts send.
fn uploaded(framing: &str) -> String {
    let body = b"0123456789".repeat(100_000);
    format!("PUT /up {framing} {} {:016x}\n", body.len(), summed(0, &body))
}

fn assert_visit(visit: &Value, seen: &str) {
    let seen: Value = serde_json::from_str(seen).unwrap();
    assert_eq!(visit[0], Value::from(vec![seen.clone(), seen.clone(), seen]), "{visit}");
    assert_eq!(
        (visit[1].as_str(), visit[2].as_str()),
        (Some(&*uploaded("length")), Some(&*uploaded("chunked")))
    );
}

#[test]
fn python_and_node_clients_see_what_their_role_may_and_upload_in_either_framing() {
    for (who, seen) in [(Who::Job, MASKED), (Who::Privileged, PATIENTS)] {
        let python = WEB.script(who, "python3", "visit_http.py").output().unwrap();
        assert!(python.status.success(), "{}", text(&python.stderr));
        let visits: Value = serde_json::from_slice(&python.stdout).unwrap();
        for library in ["requests", "httpx", "aiohttp"] {
            assert_visit(&visits[library], seen);
        }
        let node = WEB.script(who, "node", "visit_fetch.mjs").output().unwrap();
        assert!(node.status.success(), "{}", text(&node.stderr));
        assert_visit(&serde_json::from_slice(&node.stdout).unwrap(), seen);
    }
}

#[test]
fn curl_and_wget_see_masked_answers_and_nothing_protected_is_in_the_record() {
    for arguments in [&["-f"][..], &["-f", "--compressed"], &["-f", "--http1.0"], &["-f", "-r", "0-9"]] {
        for path in ["/patients", "/encoded"] {
            let curl = WEB.curl(Who::Job, path, arguments).output().unwrap();
            assert_eq!(text(&curl.stdout), MASKED, "{path} {arguments:?}: {}", text(&curl.stderr));
        }
    }
    let head = WEB.curl(Who::Job, "/encoded", &["-f", "-D", "-", "-o", "/dev/null"]).output().unwrap();
    let head = text(&head.stdout).to_lowercase();
    assert!(!head.contains("etag") && !head.contains("content-encoding"), "{head}");
    let token = WEB.appliance.token(Who::Job);
    let wget = Command::new("wget")
        .args([
            "-q",
            "-O",
            "-",
            "--ca-certificate",
            WEB.appliance.var("WEIR_CA"),
            "--header",
            "Weir-Role: job",
        ])
        .args(["--header", &format!("Authorization: Bearer {token}"), &WEB.url("/patients")])
        .output()
        .unwrap();
    assert_eq!(text(&wget.stdout), MASKED, "{}", text(&wget.stderr));
    // An upload of the very same, by path, by pattern and behind escapes.
    let json = ["-f", "-H", "Content-Type: application/json", "-d", PATIENTS];
    assert!(WEB.curl(Who::Job, "/up", &json).status().unwrap().success());
    let recorded = WEB.appliance.recorded();
    for canary in CANARIES {
        let found = recorded.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{canary} is in the record");
    }
}

#[test]
fn an_event_is_with_its_client_before_the_next_is_made() {
    let mut curl = WEB.curl(Who::Job, "/events", &["-N"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut event = String::new();
    BufReader::new(curl.stdout.take().unwrap()).read_line(&mut event).unwrap();
    assert_eq!(event, format!("data: {MASKED}\n"));
    curl.kill().unwrap();
    curl.wait().unwrap();
}
