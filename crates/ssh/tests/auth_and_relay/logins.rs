//! The crate as client against the crate as server: every credential, and what a refusal says.

use std::sync::Arc;

use weir_ssh::algorithms::Algorithms;
use weir_ssh::auth::{Answer, AuthSettings, ClientAuth, Credential, Evidence, ServerAuth};
use weir_ssh::{Error, Limits, RekeyLimits};
use zeroize::Zeroizing;

use crate::driver::keys::Keys;
use crate::driver::legs::{NOW, carry, configs, settle};

/// Logs in, and says what the server was shown.
fn login(keys: &Keys, credential: Credential, accept: bool) -> Result<String, Error> {
    let offer = Algorithms::default();
    let configs = configs(keys, "host", offer.clone(), offer, RekeyLimits::default());
    let (mut client, mut server) =
        (crate::driver::legs::Leg::new(&configs.0), crate::driver::legs::Leg::new(&configs.1));
    settle(&mut client, &mut server, usize::MAX)?;
    let authorities = vec![keys.public("authority")];
    let limits = Limits { failure_delay_ms: 0, ..Limits::default() };
    let settings = AuthSettings { authorities, revocations: None, tokens: true, limits };
    let mut auth = ServerAuth::new(Arc::new(settings), None);
    let mut login =
        ClientAuth::begin("job+web".to_owned(), credential, &mut client.transport, &mut client.out)?;
    let mut shown = String::new();
    while !client.out.is_empty() || !server.out.is_empty() {
        carry(&mut client, &mut server, usize::MAX)?;
        for message in std::mem::take(&mut server.messages) {
            let asked = auth.message(&message, &mut server.transport, NOW, &mut server.out)?;
            let asked = asked.map(|ask| match ask.evidence {
                Evidence::Token(token) => String::from_utf8_lossy(token).into_owned(),
                Evidence::Certificate(certificate) => certificate.key_id.clone(),
            });
            if let Some(asked) = asked {
                shown = asked;
                let answer = if accept { Answer::Accept } else { Answer::Refuse(Some("no")) };
                auth.answer(answer, &mut server.transport, NOW, &mut server.out)?;
            }
            auth.tick(&mut server.transport, NOW, &mut server.out)?;
        }
        carry(&mut server, &mut client, usize::MAX)?;
        for message in std::mem::take(&mut client.messages) {
            login.message(&message, &mut client.transport, &mut client.out)?;
        }
    }
    assert_eq!(login.is_done(), accept && auth.is_done());
    Ok(shown)
}

#[test]
fn passwords_and_certificates_of_every_kind_of_key_log_in() {
    let keys = Keys::new();
    keys.make("host", "ed25519").make("authority", "ed25519");
    for kind in ["ed25519", "ecdsa", "rsa"] {
        keys.make(kind, kind);
        keys.certify(kind, "authority", &["-I", kind, "-n", "web", "-V", "20260101Z:20280101Z"]);
        let credential = Credential::certified(keys.signing(kind), &keys.certificate_line(kind)).unwrap();
        assert_eq!(format!("{credential:?}"), "Certificate(..)");
        assert_eq!(login(&keys, credential, true).as_deref(), Ok(kind));
    }
    let password = || Credential::Password(Zeroizing::new(b"s3cret".to_vec()));
    assert_eq!(login(&keys, password(), true).as_deref(), Ok("s3cret"));
    assert_eq!(format!("{:?}", password()), "Password(..)");
    let refused = login(&keys, password(), false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the server refused the gateway's login; it takes publickey,password,keyboard-interactive"
    );
    let plain = login(&keys, Credential::Key(keys.signing("ed25519")), true);
    assert!(matches!(plain, Err(Error::LoginRefused { .. })));
}
