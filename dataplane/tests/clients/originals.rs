//! What was said before masking, kept for keys of its own: whole, for them alone, and without a secret of the login.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use weir_segment::{AuditorKey, auditor_key_text};

use crate::appliance::{Appliance, Who, text};
use crate::raw::{self, Raw, message};

/// Writes a new private key, and answers with it and its public line.
fn new_key(appliance: &Appliance, name: &str) -> (PathBuf, String) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = AuditorKey::generate(&ring::rand::SystemRandom::new()).unwrap();
    let path = appliance.dir.join(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, key.to_pem().as_bytes()).unwrap();
    (path, auditor_key_text(key.public()).trim().to_owned())
}

/// The sample's connection once more, with originals.
fn keep_originals(appliance: &Appliance, keys: &[&str]) {
    let upstream = appliance.upstream_line("clinic");
    let kept = format!(
        "[[connection]]\nname = \"kept\"\nprotocol = \"postgres\"\n{upstream}\ntls = \"verify-full\"\n\
         roots = \"../tls/ca.pem\"\nserver_name = \"localhost\"\ndatabase = \"clinic\"\noriginals = {keys:?}\n\
         [[role]]\nconnection = \"kept\"\nname = \"analyst\"\nuser = \"weir_clinic\"\n\
         password_file = \"../secrets/clinic\"\n\
         [[grant]]\nconnection = \"kept\"\nrole = \"analyst\"\ngroups = [\"analysts\"]\n"
    );
    fs::write(appliance.dir.join("access/kept.toml"), kept).unwrap();
    let applied = appliance.admin(&["apply", "--config", appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    Appliance::until("the connection to be in force", || {
        Raw::log_in(appliance, "kept", "analyst", &appliance.token(Who::Analyst)).ok()
    });
}

fn original(appliance: &Appliance, session: &str, whose: &str, keys: &[&Path]) -> Output {
    let mut arguments = vec!["sessions", "replay", session, "--original", whose];
    for key in keys {
        arguments.extend(["--auditor-key", key.to_str().unwrap()]);
    }
    appliance.admin(&arguments)
}

#[test]
fn originals_are_for_their_own_keys_alone() {
    let appliance = Appliance::start();
    let (first, first_public) = new_key(&appliance, "first.key");
    let (second, second_public) = new_key(&appliance, "second.key");
    let (stranger, _) = new_key(&appliance, "stranger.key");
    keep_originals(&appliance, &[&first_public, &second_public]);

    let canary = appliance.direct("SELECT ssn FROM patients WHERE id = 3").trim().to_owned();
    let asked = format!("SELECT id, ssn, name FROM patients WHERE id IN (2, 3) -- {canary}");
    let token = appliance.token(Who::Analyst);
    let mut client = Raw::connect(&appliance);
    client.send(&raw::packet(196_608, b"user\0analyst\0database\0kept\0application_name\0kept-one\0\0"));
    assert!(matches!(client.next(), Some((b'R', _))));
    client.send(&message(b'p', &[token.as_bytes(), b"\0"].concat()));
    while client.next().is_some_and(|(kind, _)| kind != b'Z') {}
    let sent = [raw::query(&asked), raw::query("SELECT repeat('y', 200000)"), message(b'X', b"")].concat();
    client.send(&sent);
    let mut saw = Vec::new();
    while let Some((kind, body)) = client.next() {
        saw.extend(message(kind, &body));
    }
    assert!(!text(&saw).contains(&canary), "it is masked for this client");

    let session = Appliance::until("the session's end in the record", || {
        let list = appliance.admin(&["sessions", "list", "--json"]).stdout;
        let list: serde_json::Value = serde_json::from_slice(&list).ok()?;
        let one = list.as_array()?.iter().find(|one| one["application"] == "kept-one")?;
        one["close_reason"].as_str()?;
        Some(one["session"].as_str()?.to_owned())
    });
    let recording = PathBuf::from(appliance.var("WEIR_AUDITOR_KEY"));
    for key in [&first, &second] {
        let keys = [recording.as_path(), key.as_path()];
        let client = original(&appliance, &session, "client", &keys);
        assert!(client.stdout == sent, "{}", text(&client.stderr));
        let upstream = original(&appliance, &session, "upstream", &keys).stdout;
        assert!(text(&upstream).contains(&canary), "what the server answered");
        // As long as what the client saw, but for what was masked.
        assert!(upstream.len() > 200_000 && upstream.len() < saw.len() + 1_000);
        for secret in [token.trim(), "SCRAM-SHA-256"] {
            assert!(!text(&upstream).contains(secret) && !text(&client.stdout).contains(secret));
        }
    }
    for keys in [&[recording.as_path()][..], &[recording.as_path(), stranger.as_path()]] {
        let refused = original(&appliance, &session, "client", keys);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("sealed to other keys"), "{}", text(&refused.stderr));
        assert!(refused.stdout.is_empty());
    }
    // Nobody else's reading is changed by it, and the recording's own key opens none of it.
    let replayed = appliance.admin(&["sessions", "replay", &session, "--bytes"]);
    assert!(text(&replayed.stdout).contains(&text(&saw)[..100]) && !text(&replayed.stdout).contains(&canary));
    assert!(!text(&appliance.recorded()).contains(&canary), "raw in what the recording's key opens");
    let verified = appliance.admin(&["sessions", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    // A connection that keeps none has none.
    let plain = appliance.psql(Who::Analyst, "SELECT 1");
    assert!(plain.status.success());
}
