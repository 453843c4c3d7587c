//! The relay, message by message: what passes, what does not, and whose answer comes when.

use weir_ssh::relay::{Ask, ChannelId, ChannelKind, Decision, Dropped, Letters, Relay, Seen, Side, Step};
use weir_ssh::{Limits, Permits};

use crate::text::{confirm, data, exec, open, plain, request, text};

pub(crate) struct Bench {
    pub relay: Relay,
    pub letters: Letters,
}

pub(crate) const ID: ChannelId = ChannelId(0);

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), Permits::ALL)
    }

    pub(crate) fn with(limits: Limits, permits: Permits) -> Self {
        Self { relay: Relay::new(limits, permits, None), letters: Letters::default() }
    }

    /// With a session: 10 at the client, 20 at the upstream, windows of `window` both ways.
    pub(crate) fn open(window: u32) -> Self {
        let mut bench = Self::new();
        assert!(bench.forwards(Side::Client, &open(10, window)));
        assert!(bench.forwards(Side::Upstream, &confirm(10, 20, window)));
        bench
    }

    pub(crate) fn step<'a>(&mut self, from: Side, message: &'a [u8]) -> Step<'a> {
        self.letters.clear();
        self.relay.step(from, message, &mut self.letters).unwrap()
    }

    pub(crate) fn fails(&mut self, from: Side, message: &[u8]) -> bool {
        self.relay.step(from, message, &mut self.letters).is_err()
    }

    pub(crate) fn forwards(&mut self, from: Side, message: &[u8]) -> bool {
        matches!(self.step(from, message), Step::Forward(_)) && self.letters.is_empty()
    }

    pub(crate) fn decide<'a>(&mut self, message: &'a [u8], decision: Decision<'_>) -> Step<'a> {
        assert!(matches!(self.step(Side::Client, message), Step::Decide { .. }), "{message:?}");
        self.relay.conclude(decision, message, &mut self.letters).unwrap()
    }

    pub(crate) fn letters(&self) -> Vec<(Side, Vec<u8>)> {
        self.letters.iter().map(|(to, letter)| (to, letter.to_vec())).collect()
    }
}

#[test]
fn a_session_from_its_opening_to_its_end_passes_as_it_came() {
    let mut bench = Bench::new();
    let opening = open(10, 1000);
    assert_eq!(
        bench.step(Side::Client, &opening),
        Step::Forward(Seen::Opening { channel: ID, kind: ChannelKind::Session })
    );
    assert!(bench.forwards(Side::Upstream, &confirm(10, 20, 1000)));
    let run = exec(20, "id");
    assert_eq!(
        bench.step(Side::Client, &run),
        Step::Decide { channel: Some(ID), ask: Ask::Exec { command: b"id" } }
    );
    let step = bench.relay.conclude(Decision::Allow, &run, &mut bench.letters).unwrap();
    assert_eq!(step, Step::Forward(Seen::Asked { channel: Some(ID) }));
    assert!(matches!(
        bench.step(Side::Upstream, &plain(99, 10)),
        Step::Sent(Seen::Answered { success: true, .. })
    ));
    assert_eq!(bench.letters(), [(Side::Client, plain(99, 10))]);
    let words = data(10, b"uid=0");
    assert!(matches!(bench.step(Side::Upstream, &words), Step::Forward(Seen::Data { data: b"uid=0", .. })));
    let status = [request(10, "exit-status", false), 3u32.to_be_bytes().to_vec()].concat();
    assert_eq!(
        bench.step(Side::Upstream, &status),
        Step::Forward(Seen::ExitStatus { channel: ID, status: 3 })
    );
    for (from, message) in [
        (Side::Upstream, plain(96, 10)),
        (Side::Upstream, plain(97, 10)),
        (Side::Client, plain(96, 20)),
        (Side::Client, plain(97, 20)),
    ] {
        assert!(bench.forwards(from, &message));
    }
    assert_eq!(bench.relay.channels(), 0);
    assert!(bench.fails(Side::Client, &data(20, b"late")));
}

#[test]
fn kinds_of_channels_and_requests_that_are_not_known_or_come_from_the_wrong_side_are_refused() {
    let opening = |kind: &str, number: u32| {
        text(90).string(kind).word(number).word(9).word(9).string("h").word(1).string("o").word(2).0
    };
    for (from, kind, reason) in [
        (Side::Client, "tun@openssh.com", 3),
        (Side::Client, "x11", 3),
        (Side::Client, "forwarded-tcpip", 3),
        (Side::Client, "auth-agent@openssh.com", 3),
        (Side::Upstream, "session", 3),
        (Side::Upstream, "direct-tcpip", 3),
        (Side::Upstream, "x11", 1),
        (Side::Upstream, "auth-agent@openssh.com", 1),
        (Side::Upstream, "forwarded-tcpip", 1),
    ] {
        let mut bench = Bench::new();
        assert!(matches!(bench.step(from, &opening(kind, 5)), Step::Drop(_)), "{kind}");
        let letters = bench.letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(
            (letters[0].0, &letters[0].1[..9]),
            (from, &text(92).word(5).word(reason).0[..]),
            "{kind}"
        );
        assert_eq!(bench.relay.channels(), 0);
        // The number is free again.
        assert!(bench.relay.step(from, &opening(kind, 5), &mut bench.letters).is_ok());
    }
    let mut bench = Bench::open(1000);
    for (from, name) in [
        (Side::Client, "exit-status"),
        (Side::Client, "tunnel@example.org"),
        (Side::Upstream, "exec"),
        (Side::Upstream, "pty-req"),
        (Side::Upstream, "auth-agent-req@openssh.com"),
    ] {
        let (to, mine) = if from == Side::Client { (20, 10) } else { (10, 20) };
        assert_eq!(bench.step(from, &request(to, name, false)), Step::Drop(Dropped::Unknown), "{name}");
        assert!(bench.letters.is_empty());
        assert_eq!(bench.step(from, &request(to, name, true)), Step::Drop(Dropped::Unknown), "{name}");
        assert_eq!(bench.letters(), [(from, plain(100, mine))]);
    }
}

#[test]
fn global_requests_are_a_closed_list_with_answers_in_their_order() {
    let global = |name: &str, reply: bool| text(80).string(name).flag(reply).0;
    let mut bench = Bench::new();
    assert_eq!(
        bench.step(Side::Upstream, &global("hostkeys-00@openssh.com", false)),
        Step::Drop(Dropped::Ours)
    );
    assert_eq!(
        bench.step(Side::Client, &global("hostkeys-prove-00@openssh.com", true)),
        Step::Drop(Dropped::Unknown)
    );
    assert_eq!(bench.letters(), [(Side::Client, vec![82])]);
    assert!(bench.forwards(Side::Client, &global("no-more-sessions@openssh.com", false)));
    // Ours waits behind the one that the upstream answers.
    assert!(bench.forwards(Side::Client, &global("keepalive@openssh.com", true)));
    assert_eq!(bench.step(Side::Client, &global("unknown@example.org", true)), Step::Drop(Dropped::Unknown));
    assert!(bench.letters.is_empty());
    assert!(matches!(bench.step(Side::Upstream, &[82]), Step::Sent(_)));
    assert_eq!(bench.letters(), [(Side::Client, vec![82]), (Side::Client, vec![82])]);
    assert!(bench.fails(Side::Upstream, &[81]));
}

#[test]
fn listening_is_asked_about_and_only_what_was_allowed_may_connect() {
    let mut bench = Bench::new();
    let listen = text(80).string("tcpip-forward").flag(true).string("localhost").word(8080).0;
    let came = |port: u32, number: u32| {
        let head = text(90).string("forwarded-tcpip").word(number).word(9).word(9);
        head.string("localhost").word(port).string("10.0.0.1").word(5).0
    };
    assert!(matches!(bench.step(Side::Upstream, &came(8080, 1)), Step::Drop(Dropped::NotPermitted)));
    assert_eq!(bench.decide(&listen, Decision::Deny("")), Step::Drop(Dropped::Denied));
    assert_eq!(bench.letters(), [(Side::Client, vec![82])]);
    assert!(matches!(bench.decide(&listen, Decision::Allow), Step::Forward(_)));
    assert!(bench.forwards(Side::Upstream, &came(8080, 2)));
    assert!(matches!(bench.step(Side::Upstream, &came(8081, 3)), Step::Drop(Dropped::NotPermitted)));
    let cancel = text(80).string("cancel-tcpip-forward").flag(false).string("localhost").word(8080).0;
    assert!(bench.forwards(Side::Client, &cancel));
    assert!(matches!(bench.step(Side::Client, &cancel), Step::Drop(Dropped::Unknown)));
    assert!(matches!(bench.step(Side::Upstream, &came(8080, 4)), Step::Drop(Dropped::NotPermitted)));
}

#[test]
fn a_denied_program_ends_its_channel_with_words_and_a_status_in_its_turn() {
    let mut bench = Bench::open(1000);
    // A terminal was asked for before; its answer comes first.
    let pty = [
        request(20, "pty-req", true),
        text(0).string("vt220").word(80).word(24).word(0).word(0).string("").0[1..].to_vec(),
    ]
    .concat();
    assert!(bench.forwards(Side::Client, &pty));
    assert_eq!(bench.decide(&exec(20, "rm"), Decision::Deny("rule 1")), Step::Drop(Dropped::Denied));
    assert_eq!(bench.letters(), [(Side::Client, text(95).word(10).word(1).string("rule 1").0)]);
    // Behind it nothing is answered any more.
    assert_eq!(bench.step(Side::Client, &request(20, "unknown", true)), Step::Drop(Dropped::Unknown));
    bench.step(Side::Upstream, &plain(99, 10));
    let status = [request(10, "exit-status", false), 126u32.to_be_bytes().to_vec()].concat();
    let expected = [
        (Side::Client, plain(99, 10)),
        (Side::Client, plain(99, 10)),
        (Side::Client, status),
        (Side::Client, plain(96, 10)),
        (Side::Client, plain(97, 10)),
        (Side::Upstream, plain(97, 20)),
    ];
    assert_eq!(bench.letters(), expected);
    // What either still sends goes nowhere, and the channel is over when both have closed.
    for (from, message) in [
        (Side::Client, data(20, b"input")),
        (Side::Upstream, data(10, b"output")),
        (Side::Client, exec(20, "again")),
        (Side::Client, plain(97, 20)),
        (Side::Upstream, plain(97, 10)),
    ] {
        assert_eq!(bench.step(from, &message), Step::Drop(Dropped::Ours));
        assert!(bench.letters.is_empty());
    }
    assert_eq!(bench.relay.channels(), 0);
    assert!(bench.forwards(Side::Client, &open(10, 1)));
}

#[test]
fn a_channel_runs_one_program() {
    let mut bench = Bench::open(1000);
    assert!(matches!(bench.decide(&exec(20, "id"), Decision::Allow), Step::Forward(_)));
    for again in [exec(20, "rm"), request(20, "shell", true)] {
        assert!(matches!(bench.step(Side::Client, &again), Step::Drop(Dropped::Limit(_))));
    }
}

#[test]
fn what_breaks_the_protocol_ends_both_legs() {
    for (from, message) in [
        (Side::Client, data(99, b"x")),
        (Side::Client, data(20, &[0; 1001])),
        (Side::Client, open(10, 1)),
        (Side::Upstream, confirm(10, 21, 1)),
        (Side::Upstream, plain(99, 10)),
        (Side::Upstream, text(93).word(10).word(u32::MAX).0),
        (Side::Client, text(94).word(20).0),
        (Side::Client, text(98).word(20).string("exec").0),
        (Side::Client, [exec(20, "id"), vec![0]].concat()),
        (Side::Client, [request(20, "shell", true), text(0).string("exec").0].concat()),
        (Side::Client, [plain(96, 20), vec![0]].concat()),
    ] {
        assert!(Bench::open(1000).fails(from, &message), "{from:?} {message:?}");
    }
    let mut bench = Bench::new();
    assert!(bench.forwards(Side::Client, &open(10, 1)));
    assert!(bench.fails(Side::Client, &confirm(10, 20, 1)), "only the other side answers an opening");
    let mut bench = Bench::open(1000);
    bench.step(Side::Client, &exec(20, "id"));
    assert!(bench.fails(Side::Client, &data(20, b"x")), "a decision is awaited");
}

#[test]
fn counts_are_bounded() {
    let limits = Limits { channels: 2, outstanding_requests: 3, ..Limits::default() };
    let mut bench = Bench::with(limits, Permits::ALL);
    for number in 0..2 {
        assert!(bench.forwards(Side::Client, &open(number, 9)));
    }
    assert!(matches!(bench.step(Side::Client, &open(2, 9)), Step::Drop(Dropped::Limit("channels"))));
    assert_eq!(bench.letters()[0].1[..9], text(92).word(2).word(4).0);
    assert!(bench.forwards(Side::Upstream, &confirm(0, 0, 9)));
    for _ in 0..3 {
        assert!(bench.forwards(Side::Client, &request(0, "keepalive@openssh.com", true)));
    }
    assert!(bench.fails(Side::Client, &request(0, "keepalive@openssh.com", true)));
}
