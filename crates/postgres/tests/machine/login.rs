//! From the StartupMessage to the first ReadyForQuery.

use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use weir_mask::MaskKey;
use weir_policy::{Denial, Reason, Timestamp};
use weir_postgres::{
    BearerTerms, Error, Limits, PostgresMachine, Proof, UNKNOWN_CONNECTION, md5_secret, scram,
};
use weir_wire::{Action, Admission, Machine as _, Outbox, Side, Step, UpstreamLogin, UpstreamSecret};

use crate::support::policy::{self, Rules, denial};
use crate::support::wire::{cut, error, message, messages, ready, startup, words};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn machine() -> PostgresMachine {
    PostgresMachine::new(
        Limits::default(),
        policy::source(),
        std::rc::Rc::new(policy::KnownCatalog),
        Arc::new(MaskKey::new(1, [0; 32])),
    )
}

/// Steps until the machine needs more, dropping what it discards; what it asked, if anything.
fn feed(
    machine: &mut PostgresMachine,
    from: Side,
    mut input: &[u8],
    out: &mut Outbox,
) -> Result<Vec<u8>, Error> {
    let mut forwarded = Vec::new();
    loop {
        match machine.step(from, input, NOW, out)? {
            Step::Act(Action::NeedMore) => {
                assert!(input.is_empty(), "left: {input:?}");
                return Ok(forwarded);
            }
            Step::Act(Action::Discard { len }) => input = &input[len..],
            Step::Act(Action::Forward { len }) => {
                forwarded.extend_from_slice(&input[..len]);
                input = &input[len..];
            }
            Step::Act(Action::Close) => return Ok(forwarded),
            Step::Identify(_) => return Ok(forwarded),
            Step::Decide { .. } => panic!("nothing to decide yet"),
        }
    }
}

fn upstream_login(secret: UpstreamSecret, channel_binding: Option<Vec<u8>>) -> UpstreamLogin {
    UpstreamLogin {
        user: "gateway".into(),
        database: "real".into(),
        secret: Rc::new(secret),
        encrypted: channel_binding.is_some(),
        channel_binding,
        binding_required: false,
        random: [5; 18],
        cancel: (0x0102_0304, 0x0506_0708),
        session_tag: "weir-42".into(),
    }
}

/// A machine that waits for the upstream, with what it sent there.
fn logging_in(
    parameters: &[(&str, &str)],
    secret: UpstreamSecret,
    binding: Option<Vec<u8>>,
) -> (PostgresMachine, Vec<u8>) {
    logging_in_by(parameters, upstream_login(secret, binding))
}

fn logging_in_by(parameters: &[(&str, &str)], upstream: UpstreamLogin) -> (PostgresMachine, Vec<u8>) {
    let (mut machine, mut out) = (machine(), Outbox::default());
    feed(&mut machine, Side::Client, &startup(parameters), &mut out).unwrap();
    assert_eq!(out.client.split(), message(b'R', &[0, 0, 0, 3])[..]);
    let password = message(b'p', b" token\n\0");
    let Ok(Step::Identify(login)) = machine.step(Side::Client, &password, NOW, &mut out) else {
        panic!("not asked")
    };
    assert_eq!(login.token, b"token");
    let permit = Rules::new(None).permit();
    let admission = Admission::Allow { permit, upstream };
    assert_eq!(machine.admit(admission, NOW, &mut out), Ok(Action::Discard { len: password.len() }));
    assert!(out.client.is_empty(), "nothing is said to the client before the upstream accepts");
    (machine, out.upstream.split().to_vec())
}

const CLIENT: &[(&str, &str)] = &[("user", "job"), ("database", "clinic")];

fn authentication(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), rest].concat())
}

#[test]
fn the_client_names_connection_role_application_and_purpose() {
    let (mut machine, mut out) = (machine(), Outbox::default());
    let parameters =
        [CLIENT, &[("application_name", "etl;purpose=billing"), ("options", "-c weir.purpose=x")]].concat();
    feed(&mut machine, Side::Client, &startup(&parameters), &mut out).unwrap();
    let password = message(b'p', b"jwt\0");
    let Ok(Step::Identify(login)) = machine.step(Side::Client, &password, NOW, &mut out) else {
        panic!("not asked")
    };
    let asked = (login.connection, login.role, login.application, login.purpose);
    assert_eq!(asked, (Some("clinic"), Some("job"), Some("etl"), Some("x")));
}

#[test]
fn settings_go_upstream_and_our_own_user_with_them() {
    let parameters = [CLIENT, &[("DateStyle", "German"), ("work_mem", "1GB")]].concat();
    let (_, sent) = logging_in(&parameters, UpstreamSecret::None, None);
    let text = String::from_utf8_lossy(&sent[8..]).replace('\0', " ");
    assert_eq!(
        text,
        "user gateway database real datestyle German application_name weir-42 standard_conforming_strings on client_encoding UTF8  "
    );
}

#[test]
fn every_cut_of_a_login_ends_the_same() {
    let answer = [
        authentication(0, b""),
        message(b'S', b"server_version\x0018\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        ready(b'I'),
    ]
    .concat();
    for how in 0..6 {
        let (mut machine, _) = logging_in(CLIENT, UpstreamSecret::None, None);
        let (mut client, mut held) = (Vec::new(), Vec::new());
        for piece in cut(&answer, how) {
            held.extend_from_slice(&piece);
            let mut out = Outbox::default();
            loop {
                let action = machine.step(Side::Upstream, &held, NOW, &mut out).unwrap();
                client.extend_from_slice(&out.client.split());
                match action {
                    Step::Act(Action::Discard { len }) => drop(held.drain(..len)),
                    Step::Act(Action::Forward { len }) => client.extend(held.drain(..len)),
                    Step::Act(_) | Step::Decide { .. } | Step::Identify(_) => break,
                }
            }
        }
        let expected = [
            authentication(0, b""),
            message(b'S', b"server_version\x0018\0"),
            message(b'K', &[1, 2, 3, 4, 5, 6, 7, 8]),
            ready(b'I'),
        ];
        assert_eq!(client, expected.concat(), "cut {how}");
    }
}

#[test]
fn scram_logs_in_with_keys_and_binds_to_the_certificate() {
    let keys = scram::derive("pencil", b"salt", 4096).unwrap();
    let server_key = keys.server_key;
    let (mut machine, _) = logging_in(CLIENT, UpstreamSecret::Scram(keys), Some(vec![9; 32]));
    let mut out = Outbox::default();
    feed(
        &mut machine,
        Side::Upstream,
        &authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        &mut out,
    )
    .unwrap();
    let initial = out.upstream.split().to_vec();
    let initial = &messages(&initial).0[0].1;
    let first = initial.strip_prefix(b"SCRAM-SHA-256-PLUS\0").unwrap()[4..].to_vec();
    let bare = first.strip_prefix(b"p=tls-server-end-point,,").unwrap();
    let nonce = format!("{}server", String::from_utf8_lossy(bare).strip_prefix("n=,r=").unwrap());
    let challenge = format!("r={nonce},s={},i=4096", BASE64.encode("salt"));
    feed(&mut machine, Side::Upstream, &authentication(11, challenge.as_bytes()), &mut out).unwrap();
    let last = out.upstream.split().to_vec();
    let last = String::from_utf8(messages(&last).0[0].1.clone()).unwrap();
    let (without_proof, _) = last.split_once(",p=").unwrap();
    assert!(
        without_proof.starts_with(&format!(
            "c={}",
            BASE64.encode([&b"p=tls-server-end-point,,"[..], &[9; 32]].concat())
        ))
    );
    let transcript = [bare, b",", challenge.as_bytes(), b",", without_proof.as_bytes()].concat();
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &server_key), &transcript);
    let proof = format!("v={}", BASE64.encode(signature));
    feed(&mut machine, Side::Upstream, &authentication(12, proof.as_bytes()), &mut out).unwrap();
    assert!(out.client.is_empty());
    feed(&mut machine, Side::Upstream, &authentication(0, b""), &mut out).unwrap();
    assert_eq!(out.client.split(), authentication(0, b"")[..]);
}

#[test]
fn each_credential_answers_its_own_method_only() {
    let scram = || UpstreamSecret::Scram(scram::derive("p", b"salt", 1).unwrap());
    let plain = || UpstreamSecret::Plain(b"secret".to_vec());
    let md5 = || UpstreamSecret::Md5(md5_secret("secret", "gateway"));
    let tls = || Some(vec![1; 32]);
    let sent = |tail: &[u8]| Ok(message(b'p', tail));
    for (secret, binding, asked, expected) in [
        (plain(), tls(), authentication(3, b""), sent(b"secret\0")),
        (plain(), None, authentication(3, b""), Err(Error::StaleCredential)),
        (md5(), None, authentication(5, b"\x01\x02\x03\x04"), sent(b"md5c8fdf738c8b6996a93dc0b1355c7239a\0")),
        (md5(), None, authentication(3, b""), Err(Error::StaleCredential)),
        (scram(), None, authentication(3, b""), Err(Error::StaleCredential)),
        (scram(), None, authentication(0, b""), Err(Error::StaleCredential)),
        (plain(), tls(), authentication(10, b"SCRAM-SHA-256\0\0"), Err(Error::StaleCredential)),
        (UpstreamSecret::None, None, authentication(3, b""), Err(Error::StaleCredential)),
        (UpstreamSecret::None, None, authentication(7, b""), Err(Error::UpstreamMethod)),
        (scram(), None, authentication(12, b"v=x"), Err(Error::UpstreamState("authentication"))),
        (UpstreamSecret::None, None, error("28P01", "no"), Err(Error::StaleCredential)),
        (UpstreamSecret::None, None, error("53300", "full"), Err(Error::UpstreamRefused(*b"53300"))),
        (UpstreamSecret::None, None, ready(b'I'), Err(Error::UpstreamState("login"))),
    ] {
        let case = format!("{secret:?} asked {asked:?}");
        let (mut machine, _) = logging_in(CLIENT, secret, binding);
        let mut out = Outbox::default();
        let answer =
            feed(&mut machine, Side::Upstream, &asked, &mut out).map(|_| out.upstream.split().to_vec());
        assert_eq!(answer, expected, "{case}");
    }
}

#[test]
fn where_binding_is_required_nothing_is_answered_that_is_not_bound() {
    let scram = || UpstreamSecret::Scram(scram::derive("p", b"salt", 1).unwrap());
    let plain = || UpstreamSecret::Plain(b"secret".to_vec());
    let md5 = || UpstreamSecret::Md5(md5_secret("secret", "gateway"));
    let tls = || Some(vec![1; 32]);
    let both = || authentication(10, b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0\0");
    for (secret, binding, asked, bound) in [
        (scram(), tls(), both(), true),
        (scram(), tls(), authentication(10, b"SCRAM-SHA-256\0\0"), false),
        (scram(), None, both(), false),
        (scram(), tls(), authentication(0, b""), false),
        (plain(), tls(), authentication(3, b""), false),
        (md5(), tls(), authentication(5, b"\x01\x02\x03\x04"), false),
        (UpstreamSecret::None, tls(), authentication(0, b""), false),
    ] {
        let case = format!("{secret:?} asked {asked:?}");
        let upstream = UpstreamLogin { binding_required: true, ..upstream_login(secret, binding) };
        let (mut machine, _) = logging_in_by(CLIENT, upstream);
        let mut out = Outbox::default();
        let outcome = feed(&mut machine, Side::Upstream, &asked, &mut out).map(drop);
        assert_eq!(outcome, if bound { Ok(()) } else { Err(Error::UpstreamUnbound) }, "{case}");
        assert_eq!(out.upstream.is_empty(), !bound, "{case}");
        assert!(out.client.is_empty(), "{case}");
    }
}

#[test]
fn a_password_in_clear_goes_by_tls_whatever_certificate_that_has() {
    // Channel binding is undefined for some certificates, Ed25519 ones among them.
    for (encrypted, binding) in [(true, None), (true, Some(vec![1; 32])), (false, None)] {
        let plain = UpstreamSecret::Plain(b"secret".to_vec());
        let upstream = UpstreamLogin { encrypted, ..upstream_login(plain, binding) };
        let (mut machine, _) = logging_in_by(CLIENT, upstream);
        let mut out = Outbox::default();
        let asked = feed(&mut machine, Side::Upstream, &authentication(3, b""), &mut out);
        let (answer, expected) = (out.upstream.split(), message(b'p', b"secret\0"));
        assert_eq!((asked.is_ok(), answer == expected[..]), (encrypted, encrypted));
    }
}

#[test]
fn a_fault_before_a_session_says_whom_the_gateway_waited_for() {
    let told = |machine: &mut PostgresMachine| {
        let mut out = Outbox::default();
        machine.farewell(weir_wire::Farewell::Fault("too late"), &mut out);
        words(&out.client)
    };
    assert_eq!(told(&mut machine()), ["E 08P01"]);
    assert_eq!(told(&mut logging_in(CLIENT, UpstreamSecret::None, None).0), ["E 57P03"]);
}

#[test]
fn a_stale_credential_may_be_replaced_and_tried_again() {
    let (mut machine, _) = logging_in(CLIENT, UpstreamSecret::None, None);
    let mut out = Outbox::default();
    assert_eq!(
        feed(&mut machine, Side::Upstream, &authentication(3, b""), &mut out),
        Err(Error::StaleCredential)
    );
    let upstream = upstream_login(UpstreamSecret::None, None);
    let permit = Rules::new(None).permit();
    assert_eq!(
        machine.admit(Admission::Allow { permit, upstream }, NOW, &mut out),
        Ok(Action::Discard { len: 0 })
    );
    assert!(out.upstream.split().len() > 8 && out.client.is_empty());
    feed(&mut machine, Side::Upstream, &authentication(0, b""), &mut out).unwrap();
    assert_eq!(out.client.split(), authentication(0, b"")[..]);
}

#[test]
fn a_refused_login_says_what_may_be_said() {
    for (denial, expected) in [
        (Denial { reason: Reason::Unauthenticated, ..denial("(token)") }, "E 28P01"),
        (denial(UNKNOWN_CONNECTION), "E 3D000"),
        (denial("no.grant"), "E 28000"),
        (Denial { reason: Reason::Limit, ..denial("(limit)") }, "E 53300"),
        (Denial { reason: Reason::Unavailable, ..denial("(upstream)") }, "E 57P03"),
    ] {
        let (mut machine, mut out) = (machine(), Outbox::default());
        feed(&mut machine, Side::Client, &startup(CLIENT), &mut out).unwrap();
        out.client.clear();
        assert!(matches!(
            machine.step(Side::Client, &message(b'p', b"x\0"), NOW, &mut out),
            Ok(Step::Identify(_))
        ));
        assert_eq!(machine.admit(Admission::Deny(denial), NOW, &mut out), Ok(Action::Close));
        assert_eq!(words(&out.client), [expected]);
    }
}

const DISCOVERY: &str = "https://issuer.example/.well-known/openid-configuration";

fn bearer_machine() -> PostgresMachine {
    machine().asking_for(Proof::Bearer(Rc::new(BearerTerms::new(DISCOVERY, Some("openid")))))
}

/// SASLInitialResponse.
fn initial(said: &str) -> Vec<u8> {
    let length = u32::try_from(said.len()).unwrap();
    message(b'p', &[b"OAUTHBEARER\0", &length.to_be_bytes()[..], said.as_bytes()].concat())
}

fn told() -> Vec<u8> {
    let terms = format!(
        "{{\"openid-configuration\":\"{DISCOVERY}\",\"scope\":\"openid\",\"status\":\"invalid_token\"}}"
    );
    authentication(11, terms.as_bytes())
}

#[test]
fn a_bearer_token_is_asked_for_by_sasl_and_found_in_any_cut() {
    let sent = [startup(CLIENT), initial("n,,\x01auth=Bearer a.b.c\x01\x01")].concat();
    for how in 0..6 {
        let (mut machine, mut out, mut held) = (bearer_machine(), Outbox::default(), Vec::new());
        let mut asked = 0;
        for piece in cut(&sent, how) {
            held.extend_from_slice(&piece);
            loop {
                match machine.step(Side::Client, &held, NOW, &mut out).unwrap() {
                    Step::Act(Action::Discard { len }) => drop(held.drain(..len)),
                    Step::Identify(login) => {
                        assert_eq!((login.token, login.connection), (&b"a.b.c"[..], Some("clinic")));
                        asked += 1;
                        break;
                    }
                    Step::Act(_) | Step::Decide { .. } => break,
                }
            }
        }
        assert_eq!(asked, 1, "cut {how}");
        assert_eq!(out.client.split(), authentication(10, b"OAUTHBEARER\0\0")[..]);
        let upstream = upstream_login(UpstreamSecret::None, None);
        let admission = Admission::Allow { permit: Rules::new(None).permit(), upstream };
        assert_eq!(machine.admit(admission, NOW, &mut out), Ok(Action::Discard { len: held.len() }));
        feed(&mut machine, Side::Upstream, &authentication(0, b""), &mut out).unwrap();
        assert_eq!(out.client.split(), authentication(0, b"")[..]);
    }
}

#[test]
fn a_bearer_without_token_or_with_a_wrong_one_is_told_where_to_get_one_before_the_end() {
    for (said, asks) in [("n,,\x01auth=\x01\x01", false), ("n,,\x01auth=Bearer stale\x01\x01", true)] {
        let (mut machine, mut out) = (bearer_machine(), Outbox::default());
        feed(&mut machine, Side::Client, &startup(CLIENT), &mut out).unwrap();
        out.client.clear();
        let first = initial(said);
        match machine.step(Side::Client, &first, NOW, &mut out).unwrap() {
            Step::Identify(_) if asks => {
                let denial = Denial { reason: Reason::Unauthenticated, ..denial("(token)") };
                let action = machine.admit(Admission::Deny(denial), NOW, &mut out);
                assert_eq!(action, Ok(Action::Discard { len: first.len() }));
            }
            Step::Act(Action::Discard { len }) if !asks => assert_eq!(len, first.len()),
            Step::Act(_) | Step::Decide { .. } | Step::Identify(_) => panic!("{said:?}"),
        }
        assert_eq!(out.client.split(), told()[..], "{said:?}");
        assert!(!machine.idle());
        let acknowledgement = message(b'p', b"\x01");
        for end in 0..acknowledgement.len() {
            let early = machine.step(Side::Client, &acknowledgement[..end], NOW, &mut out);
            assert!(matches!(early, Ok(Step::Act(Action::NeedMore))), "{end}");
        }
        assert!(matches!(
            machine.step(Side::Client, &acknowledgement, NOW, &mut out),
            Ok(Step::Act(Action::Close))
        ));
        assert_eq!(words(&out.client), ["E 28P01"]);
    }
}

#[test]
fn a_bearer_that_breaks_the_exchange_or_may_not_enter_is_ended_at_once() {
    let told = |first: &[u8]| {
        let (mut machine, mut out) = (bearer_machine(), Outbox::default());
        feed(&mut machine, Side::Client, &startup(CLIENT), &mut out).unwrap();
        feed(&mut machine, Side::Client, first, &mut out).map(drop)
    };
    assert_eq!(
        told(&message(b'p', b"token\0")),
        Err(Error::ClientState("the only SASL mechanism here is OAUTHBEARER"))
    );
    assert_eq!(told(&initial("n,,\x01auth=Basic x\x01\x01")), Err(Error::ClientMalformed("OAUTHBEARER")));
    let long = format!("n,,\x01auth=Bearer {}\x01\x01", "x".repeat(20_000));
    assert_eq!(told(&initial(&long)), Err(Error::TokenTooLong(16_384)));
    let mut out = Outbox::default();
    let mut machine = bearer_machine();
    feed(&mut machine, Side::Client, &startup(CLIENT), &mut out).unwrap();
    feed(&mut machine, Side::Client, &initial("n,,\x01auth=\x01\x01"), &mut out).unwrap();
    for answer in [message(b'p', b"\x01\x01"), message(b'p', b""), message(b'Q', b"\x01")] {
        let mut copy = bearer_machine();
        feed(&mut copy, Side::Client, &startup(CLIENT), &mut out).unwrap();
        feed(&mut copy, Side::Client, &initial("n,,\x01auth=\x01\x01"), &mut out).unwrap();
        assert!(copy.step(Side::Client, &answer, NOW, &mut out).is_err(), "{answer:?}");
    }
    out.client.clear();
    let mut forbidden = bearer_machine();
    feed(&mut forbidden, Side::Client, &startup(CLIENT), &mut out).unwrap();
    let first = initial("n,,\x01auth=Bearer t\x01\x01");
    assert!(matches!(forbidden.step(Side::Client, &first, NOW, &mut out), Ok(Step::Identify(_))));
    out.client.clear();
    assert_eq!(forbidden.admit(Admission::Deny(denial("(grant)")), NOW, &mut out), Ok(Action::Close));
    assert_eq!(words(&out.client), ["E 28000"]);
}

#[test]
fn who_showed_a_certificate_is_asked_for_nothing() {
    let (mut machine, mut out) = (machine().asking_for(Proof::Certificate), Outbox::default());
    let packet = startup(CLIENT);
    for end in 0..packet.len() {
        let early = machine.step(Side::Client, &packet[..end], NOW, &mut out);
        assert!(matches!(early, Ok(Step::Act(Action::NeedMore))), "{end}");
    }
    let Ok(Step::Identify(login)) = machine.step(Side::Client, &packet, NOW, &mut out) else {
        panic!("not asked")
    };
    assert_eq!((login.token, login.role, login.connection), (&b""[..], Some("job"), Some("clinic")));
    assert!(out.client.is_empty());
    let upstream = upstream_login(UpstreamSecret::None, None);
    let admission = Admission::Allow { permit: Rules::new(None).permit(), upstream };
    assert_eq!(machine.admit(admission, NOW, &mut out), Ok(Action::Discard { len: packet.len() }));
    feed(&mut machine, Side::Upstream, &authentication(0, b""), &mut out).unwrap();
    assert_eq!(out.client.split(), authentication(0, b"")[..]);
}

#[test]
fn what_breaks_the_protocol_before_login_ends_it() {
    for (first, second, expected) in [
        (
            startup(&[("user", "u"), ("replication", "true")]),
            vec![],
            "replication connections are not supported through the gateway",
        ),
        (
            startup(CLIENT),
            message(b'Q', b"select 1\0"),
            "unexpected message in this state: a password message with the token must come first",
        ),
        (
            startup(CLIENT),
            message(b'p', &[b'x'; 20_000]),
            "token longer than the gateway's limit of 16384 bytes: ask its issuer for one with fewer claims",
        ),
        (startup(CLIENT), message(b'p', b"no end"), "malformed password message"),
        (
            vec![0, 0, 0xff, 0xff, 0, 3, 0, 0],
            vec![],
            "message longer than the gateway's limit of 10000 bytes: send less at once",
        ),
    ] {
        let (mut machine, mut out) = (machine(), Outbox::default());
        let error = feed(&mut machine, Side::Client, &first, &mut out)
            .and_then(|_| feed(&mut machine, Side::Client, &second, &mut out))
            .unwrap_err();
        assert_eq!(error.to_string(), expected);
        machine.farewell(weir_wire::Farewell::Fault(&error.to_string()), &mut out);
        assert!(words(&out.client).last().unwrap().starts_with("E "), "the client is told");
    }
}

#[test]
fn newer_minor_versions_are_negotiated_down() {
    let (mut machine, mut out) = (machine(), Outbox::default());
    let mut packet = startup(&[("user", "u"), ("_pq_.test", "1")]);
    packet[7] = 99;
    feed(&mut machine, Side::Client, &packet, &mut out).unwrap();
    let expected = message(b'v', &[&[0, 3, 0, 2, 0, 0, 0, 1][..], b"_pq_.test\0"].concat());
    assert_eq!(out.client.split(), [expected, authentication(3, b"")].concat()[..]);
}

#[test]
fn an_encoding_that_could_hide_a_quote_is_refused_where_rules_apply() {
    let (mut machine, mut out) = (machine(), Outbox::default());
    let parameters = [CLIENT, &[("client_encoding", "SJIS")]].concat();
    feed(&mut machine, Side::Client, &startup(&parameters), &mut out).unwrap();
    assert!(matches!(
        machine.step(Side::Client, &message(b'p', b"x\0"), NOW, &mut out),
        Ok(Step::Identify(_))
    ));
    let upstream = upstream_login(UpstreamSecret::None, None);
    let admission = Admission::Allow { permit: Rules::new(None).permit(), upstream };
    assert!(matches!(machine.admit(admission, NOW, &mut out), Err(Error::Setting(_))));
    assert!(out.upstream.is_empty());
}
