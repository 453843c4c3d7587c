//! Authentication as a server: what counts, what is forgotten, and what failing costs.

use std::sync::Arc;

use weir_ssh::algorithms::{Algorithms, SignatureAlgorithm};
use weir_ssh::auth::{Answer, AuthSettings, Evidence, ServerAuth};
use weir_ssh::{Error, Limits, PublicKey, RekeyLimits, Revocations};

use crate::driver::keys::Keys;
use crate::driver::legs::{Leg, NOW, configs, settle};
use crate::text::{Text, text};

struct Bench {
    keys: Keys,
    client: Leg,
    server: Leg,
    auth: ServerAuth,
    now: u64,
}

const DELAY: u64 = 1000;
/// NOW of the tests lies in 2027.
const THEN: &str = "20260101Z:20280101Z";

impl Bench {
    fn new(adjust: impl FnOnce(&mut AuthSettings)) -> Self {
        let keys = Keys::new();
        keys.make("host", "ed25519").make("authority", "ed25519").make("caller", "ed25519");
        keys.certify("caller", "authority", &["-I", "caller-1", "-z", "7", "-n", "web", "-V", THEN]);
        let offer = Algorithms::default();
        let configs = configs(&keys, "host", offer.clone(), offer, RekeyLimits::default());
        let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
        settle(&mut client, &mut server, usize::MAX).unwrap();
        let mut settings = AuthSettings {
            authorities: vec![keys.public("authority")],
            revocations: None,
            tokens: true,
            limits: Limits { failure_delay_ms: DELAY, ..Limits::default() },
        };
        adjust(&mut settings);
        let auth = ServerAuth::new(Arc::new(settings), None);
        let mut bench = Self { keys, client, server, auth, now: NOW };
        assert_eq!(bench.feed(&text(5).string("ssh-userauth").0), Ok(Said::Nothing));
        assert_eq!(bench.heard(), [text(6).string("ssh-userauth").0]);
        bench
    }

    fn feed(&mut self, message: &[u8]) -> Result<Said, Error> {
        let Leg { transport, out, .. } = &mut self.server;
        Ok(match self.auth.message(message, transport, self.now, out)? {
            None => Said::Nothing,
            Some(ask) => match ask.evidence {
                Evidence::Token(token) => Said::Token(ask.user.whole().to_owned(), token.to_vec()),
                Evidence::Certificate(it) => Said::Certificate(it.key_id.clone(), it.serial),
            },
        })
    }

    fn answer(&mut self, answer: Answer<'_>) -> Result<(), Error> {
        let Leg { transport, out, .. } = &mut self.server;
        self.auth.answer(answer, transport, self.now, out)
    }

    fn tick(&mut self) -> Result<(), Error> {
        let Leg { transport, out, .. } = &mut self.server;
        self.auth.tick(transport, self.now, out)
    }

    /// What the client got since it was asked last.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        settle(&mut self.client, &mut self.server, usize::MAX).unwrap();
        std::mem::take(&mut self.client.messages)
    }

    /// A signed request, or one that asks whether the certificate would do.
    fn by_certificate(&self, user: &str, signed: bool) -> Vec<u8> {
        let line = self.keys.certificate_line("caller");
        let words: Vec<&str> = line.split(' ').collect();
        let blob = base64_decode(words[1]);
        let request = head(user, "publickey").flag(signed).string(words[0]).string(blob);
        if !signed {
            return request.0;
        }
        let session = self.server.transport.session_id().unwrap();
        let mut signed = Text::default().string(session).0;
        signed.extend_from_slice(&request.0);
        let signature = self.keys.signing("caller").sign(SignatureAlgorithm::Ed25519, &signed).unwrap();
        request.string(signature).0
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Token(String, Vec<u8>),
    Certificate(String, u64),
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn head(user: &str, method: &str) -> Text {
    text(50).string(user).string("ssh-connection").string(method)
}

fn password(user: &str, token: &str) -> Vec<u8> {
    head(user, "password").flag(false).string(token).0
}

fn interactive(user: &str) -> Vec<u8> {
    head(user, "keyboard-interactive").string("").string("").0
}

fn failure() -> Vec<u8> {
    text(51).string("publickey,password,keyboard-interactive").flag(false).0
}

#[test]
fn a_token_is_asked_about_and_its_refusal_told_a_fixed_time_after_it_came() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(
        bench.feed(&password("job+web", " token\n")),
        Ok(Said::Token("job+web".into(), b"token".to_vec()))
    );
    assert!(bench.auth.is_waiting());
    bench.now += 300;
    bench.answer(Answer::Refuse(None)).unwrap();
    assert_eq!(bench.heard(), Vec::<Vec<u8>>::new());
    assert_eq!(bench.auth.deadline_ms(), Some(NOW + DELAY));
    bench.now = NOW + DELAY - 1;
    bench.tick().unwrap();
    assert_eq!(bench.heard(), Vec::<Vec<u8>>::new());
    bench.now += 1;
    bench.tick().unwrap();
    assert_eq!(bench.heard(), [failure()]);
    bench.feed(&password("job+web", "another")).unwrap();
    bench.answer(Answer::Accept).unwrap();
    assert_eq!(bench.heard(), [vec![52]]);
    assert!(bench.auth.is_done() && bench.auth.certificate().is_none());
    // Behind the success, requests are ignored.
    assert_eq!(bench.feed(&password("other+web", "x")), Ok(Said::Nothing));
    assert_eq!(bench.auth.user().unwrap().role(), Some("job"));
}

#[test]
fn what_was_begun_for_one_user_is_nothing_for_the_next() {
    let mut bench = Bench::new(|_| {});
    bench.feed(&interactive("privileged+web")).unwrap();
    let prompt = text(60).string("").string("").string("").word(1).string("Token: ").flag(false).0;
    assert_eq!(bench.heard(), [prompt]);
    bench.feed(&password("job+web", "token")).unwrap();
    bench.answer(Answer::Refuse(None)).unwrap();
    bench.now += DELAY;
    bench.tick().unwrap();
    // The prompt was the first user's, and is gone.
    let error = bench.feed(&text(61).word(1).string("token").0).unwrap_err();
    assert!(matches!(error, Error::Protocol(_)));
}

#[test]
fn an_answer_to_a_prompt_is_for_whom_it_was_asked() {
    let mut bench = Bench::new(|_| {});
    bench.feed(&interactive("job+web")).unwrap();
    let said = bench.feed(&text(61).word(1).string("token").0);
    assert_eq!(said, Ok(Said::Token("job+web".into(), b"token".to_vec())));
    bench.answer(Answer::Accept).unwrap();
    assert!(bench.auth.is_done());
}

#[test]
fn a_certificate_that_would_do_is_told_so_and_counts_with_its_holders_signature() {
    let mut bench = Bench::new(|_| {});
    let query = bench.by_certificate("job+web", false);
    assert_eq!(bench.feed(&query), Ok(Said::Nothing));
    assert_eq!(bench.heard()[0][0], 60);
    let mut wrong = bench.by_certificate("job+web", true);
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(bench.feed(&wrong), Ok(Said::Nothing));
    assert!(bench.auth.take_refusal().unwrap().to_string().contains("signature that is wrong"));
    bench.now += DELAY;
    bench.tick().unwrap();
    // Signed for one user, sent for another.
    let mut other = bench.by_certificate("job+web", true);
    let at = other.windows(7).position(|it| it == b"job+web").unwrap();
    other[at..at + 7].copy_from_slice(b"jog+web");
    assert_eq!(bench.feed(&other), Ok(Said::Nothing));
    assert!(bench.auth.take_refusal().unwrap().to_string().contains("signature that is wrong"));
    bench.now += DELAY;
    bench.tick().unwrap();
    let right = bench.by_certificate("job+web", true);
    assert_eq!(bench.feed(&right), Ok(Said::Certificate("caller-1".into(), 7)));
    bench.answer(Answer::Accept).unwrap();
    assert_eq!(bench.auth.certificate().unwrap().principals, ["web"]);
    assert_eq!(bench.auth.certificate().unwrap().force_command, None);
}

struct Revoked(u64);

impl Revocations for Revoked {
    fn is_revoked(&self, serial: u64, key_id: &str, _key: &PublicKey, _authority: &PublicKey) -> bool {
        assert_eq!(key_id, "caller-1");
        serial == self.0
    }
}

#[test]
fn a_revoked_certificate_does_not_even_get_to_sign() {
    let mut bench = Bench::new(|settings| settings.revocations = Some(Arc::new(Revoked(7))));
    let query = bench.by_certificate("job+web", false);
    assert_eq!(bench.feed(&query), Ok(Said::Nothing));
    assert_eq!(bench.heard(), [failure()]);
    assert!(bench.auth.take_refusal().unwrap().to_string().contains("revoked"));
    let mut bench = Bench::new(|settings| settings.revocations = Some(Arc::new(Revoked(8))));
    let query = bench.by_certificate("job+web", false);
    bench.feed(&query).unwrap();
    assert_eq!(bench.heard()[0][0], 60);
}

#[test]
fn any_byte_changed_in_a_certificate_makes_it_none() {
    let bench = Bench::new(|_| {});
    let request = bench.by_certificate("job+web", false);
    let line = bench.keys.certificate_line("caller");
    let blob = base64_decode(line.split(' ').nth(1).unwrap());
    let start = request.len() - blob.len();
    let mut bench = Bench { auth: bench.auth, ..bench };
    for at in (0..blob.len()).step_by(3) {
        let mut request = request.clone();
        request[start + at] ^= 0x10;
        let Leg { transport, out, .. } = &mut bench.server;
        let settings = AuthSettings {
            authorities: vec![bench.keys.public("authority")],
            revocations: None,
            tokens: false,
            limits: Limits::default(),
        };
        bench.auth = ServerAuth::new(Arc::new(settings), None);
        bench.auth.message(&text(5).string("ssh-userauth").0, transport, NOW, out).unwrap();
        bench.auth.message(&request, transport, NOW, out).unwrap();
        assert!(bench.auth.take_refusal().is_some(), "byte {at}");
    }
}

#[test]
fn attempts_are_counted_whatever_they_are_and_whoever_they_are_for() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.feed(&head("job+web", "none").0), Ok(Said::Nothing));
    assert_eq!(bench.heard(), [failure()]);
    let attempts = [
        head("job+web", "none").0,
        head("b+web", "hostbased").0,
        head("c+web", "publickey").flag(false).string("ssh-ed25519").string("x").0,
        password("", "token"),
        password("d+web", "  "),
    ];
    for attempt in attempts {
        assert_eq!(bench.feed(&attempt), Ok(Said::Nothing));
        bench.now += DELAY;
        bench.tick().unwrap();
        assert_eq!(bench.heard(), [failure()]);
    }
    bench.feed(&password("e+web", "token")).unwrap();
    bench.answer(Answer::Refuse(None)).unwrap();
    bench.now += DELAY;
    assert_eq!(bench.tick(), Err(Error::TooManyAttempts));
}

#[test]
fn messages_out_of_place_end_the_connection() {
    for message in [
        text(50).string("job+web").string("another-service").string("none").0,
        text(5).string("ssh-userauth").0,
        text(61).word(1).string("token").0,
        text(52).0,
        text(50).string("job+web").0,
    ] {
        let mut bench = Bench::new(|_| {});
        assert!(bench.feed(&message).is_err(), "{message:?}");
    }
    let mut bench = Bench::new(|_| {});
    bench.feed(&password("job+web", "token")).unwrap();
    assert!(matches!(bench.feed(&password("job+web", "token")), Err(Error::Contract(_))));
}

#[test]
fn a_token_of_the_length_at_which_openssh_cuts_is_no_token() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.feed(&password("job+web", &"t".repeat(1023))), Ok(Said::Nothing));
    let heard = bench.heard();
    assert!(String::from_utf8_lossy(&heard[0]).contains("exactly 1023 bytes"));
    bench.now += DELAY;
    bench.tick().unwrap();
    assert_eq!(bench.heard(), [failure()]);
    for length in [1022, 1024, 4096] {
        assert!(matches!(bench.feed(&password("job+web", &"t".repeat(length))), Ok(Said::Token(..))));
        bench.answer(Answer::Refuse(None)).unwrap();
        bench.now += DELAY;
        bench.tick().unwrap();
    }
    assert_eq!(bench.feed(&password("job+web", &"t".repeat(17 << 10))), Ok(Said::Nothing));
}
