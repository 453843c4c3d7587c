//! Host certificates: a server is trusted by its authority's word, on that word's terms.

use weir_ssh::algorithms::Algorithms;
use weir_ssh::{Config, Error, HostKey, HostTrust, Limits, RekeyLimits, SigningKey};

use crate::driver::keys::Keys;
use crate::driver::legs::{Leg, settle};

/// NOW of the tests lies in 2027.
const THEN: &str = "20260101Z:20280101Z";

fn outcome(keys: &Keys, name: &str, authority: &str) -> Result<(), Error> {
    let key = SigningKey::from_file_text(&keys.text("host")).unwrap();
    let host = HostKey::certified(key, &keys.certificate_line("host")).unwrap();
    let trust = HostTrust {
        authorities: vec![keys.public(authority)],
        name: name.to_owned(),
        ..HostTrust::default()
    };
    let (offer, limits) = (Algorithms::default(), Limits::default());
    let client = Config::client(trust, offer.clone(), limits.clone(), RekeyLimits::default()).unwrap();
    let server = Config::server(vec![host], offer, limits, RekeyLimits::default()).unwrap();
    let (mut client, mut server) = (Leg::new(&client), Leg::new(&server));
    settle(&mut client, &mut server, usize::MAX)?;
    assert!(client.established && server.established);
    Ok(())
}

#[test]
fn a_host_certificate_counts_for_its_name_its_time_and_its_authority() {
    let keys = Keys::new();
    keys.make("authority", "ed25519").make("stranger", "ed25519");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        for file in ["host", "host.pub", "host-cert.pub"] {
            std::fs::remove_file(keys.path(file)).ok();
        }
        keys.make("host", kind);
        keys.certify("host", "authority", &["-h", "-I", "host", "-n", "db.internal,db", "-V", THEN]);
        assert_eq!(outcome(&keys, "db", "authority"), Ok(()), "{kind}");
        assert!(matches!(outcome(&keys, "db", "stranger"), Err(Error::HostKey(_))), "{kind}");
        assert!(matches!(outcome(&keys, "web", "authority"), Err(Error::HostKey(_))), "{kind}");
    }
    for wrong in [
        &["-h", "-I", "host", "-n", "db", "-V", "20200101Z:20210101Z"][..],
        &["-h", "-I", "host", "-V", THEN],
        &["-I", "host", "-n", "db", "-V", THEN],
        &["-h", "-I", "host", "-n", "db", "-V", THEN, "-O", "critical:what@example.org=1"],
    ] {
        keys.certify("host", "authority", wrong);
        assert!(matches!(outcome(&keys, "db", "authority"), Err(Error::HostKey(_))), "{wrong:?}");
    }
}

#[test]
fn a_certificate_beside_another_key_is_named_as_that() {
    let keys = Keys::new();
    keys.make("authority", "ed25519").make("host", "ed25519").make("other", "ed25519");
    keys.certify("host", "authority", &["-h", "-I", "host", "-n", "db", "-V", THEN]);
    let other = SigningKey::from_file_text(&keys.text("other")).unwrap();
    let error = HostKey::certified(other, &keys.certificate_line("host")).unwrap_err();
    assert_eq!(error.to_string(), "the certificate is for another key than the one beside it");
}

#[test]
fn key_files_that_cannot_be_used_say_what_to_do() {
    let keys = Keys::new();
    keys.make("plain", "ed25519").make("p384", "ecdsa");
    let say = |text: &str| SigningKey::from_file_text(text).unwrap_err().to_string();
    assert!(say("nothing").contains("ssh-keygen"));
    for (arguments, words) in [
        (&["-t", "ed25519", "-N", "secret"][..], "passphrase"),
        (&["-t", "rsa", "-b", "2048", "-N", ""], "PKCS8"),
        (&["-t", "ecdsa", "-b", "521", "-N", ""], "-t ed25519"),
    ] {
        let path = keys.path(words);
        let mut keygen = std::process::Command::new("ssh-keygen");
        crate::driver::keys::run(keygen.args(["-q"]).args(arguments).arg("-f").arg(&path));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(say(&text).contains(words), "{}", say(&text));
    }
    let key = SigningKey::from_file_text(&keys.text("plain")).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains("SHA256:") && shown.len() < 80, "{shown}");
    let trust = HostTrust::default();
    let nobody = Config::client(trust, Algorithms::default(), Limits::default(), RekeyLimits::default());
    assert!(nobody.unwrap_err().to_string().contains("nobody could be trusted"));
}
