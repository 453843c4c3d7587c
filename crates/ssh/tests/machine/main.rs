//! The machine between a client and an upstream made of the crate itself, over memory: what a program says is masked whatever the cuts,
//! and told to the record as the client sees it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's failure"
)]

#[path = "../driver/mod.rs"]
mod driver;
#[path = "../auth_and_relay/text.rs"]
#[allow(dead_code, reason = "another test's parts")]
mod text;

use std::rc::Rc;
use std::sync::Arc;

use driver::keys::Keys;
use driver::legs::{Leg, NOW};
use text::{confirm, data, exec, open, plain, text};
use weir_mask::MaskKey;
use weir_policy::{
    MaskMethod, MaskPlan, Obligations, PatternIndex, PatternMask, Permit, RecordLevel, ScanError, Scanner,
    Timestamp, Verdict,
};
use weir_ssh::algorithms::Algorithms;
use weir_ssh::auth::{Answer, AuthSettings, ClientAuth, Credential, ServerAuth};
use weir_ssh::{Config, HostTrust, Limits, RekeyLimits, Settings, SshMachine, Workbench};
use weir_wire::{
    Action, Admission, Machine, NoteKind, Outbox, Side, SshProof, SshSecret, Step, UpstreamLogin,
    UpstreamSecret,
};
use zeroize::Zeroizing;

const WORD: &[u8] = b"secret-word";

/// Finds one word.
#[derive(Debug)]
struct OneWord;

impl Scanner for OneWord {
    fn scan(&self, text: &[u8], on_end: &mut dyn FnMut(PatternIndex, usize)) -> Result<(), ScanError> {
        for (at, window) in text.windows(WORD.len()).enumerate() {
            if window == WORD {
                on_end(PatternIndex(0), at + WORD.len());
            }
        }
        Ok(())
    }

    fn start(&self, _: PatternIndex, _: &[u8], end: usize) -> Option<usize> {
        end.checked_sub(WORD.len())
    }

    fn max_width(&self, _: PatternIndex) -> Option<usize> {
        Some(WORD.len())
    }
}

fn plan() -> Arc<MaskPlan> {
    let mask = PatternMask {
        rule: "words".into(),
        pattern: PatternIndex(0),
        validator: None,
        method: MaskMethod::Fixed("[none]".into()),
    };
    Arc::new(MaskPlan {
        columns: Vec::new(),
        json: Vec::new(),
        patterns: vec![mask],
        scanner: Some(Arc::new(OneWord)),
    })
}

fn permit(mask: Option<Arc<MaskPlan>>) -> Permit {
    let obligations = Obligations { applies: true, generation: 1, mask, noted: Vec::new() };
    Permit::simulated(Rc::new(obligations), RecordLevel::Fast)
}

/// Everything of one session.
struct Bench {
    machine: SshMachine,
    out: Outbox,
    /// What each side has sent and the machine has not taken.
    unread: [Vec<u8>; 2],
    client: Leg,
    upstream: Leg,
    upstream_auth: ServerAuth,
    upstream_secret: Arc<UpstreamSecret>,
    plan: Option<Arc<MaskPlan>>,
    now: u64,
    /// By lane.
    answers: Vec<(u32, Vec<u8>)>,
    outcomes: Vec<String>,
}

impl Bench {
    fn new(keys: &Keys, plan: Option<Arc<MaskPlan>>) -> Self {
        let (limits, rekey) = (Limits::default(), RekeyLimits::default());
        let server = |name: &str| {
            Config::server(vec![keys.host(name)], Algorithms::default(), limits.clone(), rekey).unwrap()
        };
        let trust = HostTrust { pinned: vec![keys.public("gateway")], ..HostTrust::default() };
        let client = Config::client(trust, Algorithms::default(), limits.clone(), rekey).unwrap();
        let tokens = || AuthSettings {
            authorities: vec![],
            revocations: None,
            tokens: true,
            limits: Limits::default(),
        };
        let settings = Settings {
            server: server("gateway"),
            auth: Arc::new(tokens()),
            algorithms: Algorithms::default(),
            rekey,
            limits: limits.clone(),
        };
        let key = Rc::new(MaskKey::new(1, [3; 32]));
        let secret = SshSecret {
            proof: SshProof::Password(b"upstreams".to_vec()),
            host_keys: vec![keys.text("upstream.pub").trim().to_owned()],
            host: String::new(),
        };
        Self {
            machine: SshMachine::new(Arc::new(settings), Rc::new(Workbench::default()), key, None),
            out: Outbox::default(),
            unread: [Vec::new(), Vec::new()],
            client: Leg::new(&client),
            upstream: Leg::new(&server("upstream")),
            upstream_auth: ServerAuth::new(Arc::new(tokens()), None),
            upstream_secret: Arc::new(UpstreamSecret::Ssh(secret)),
            plan,
            now: NOW,
            answers: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Lets everybody act until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in [Side::Client, Side::Upstream] {
                moved |= self.step(side);
                let leg = if side == Side::Client { &mut self.client } else { &mut self.upstream };
                let sent = self.out.queue(side).split();
                moved |= !sent.is_empty();
                leg.input.extend_from_slice(&sent);
                leg.take().unwrap();
                let said = leg.out.split();
                moved |= !said.is_empty();
                self.unread[side as usize].extend_from_slice(&said);
            }
            self.let_in();
            if !moved {
                return;
            }
        }
    }

    /// The upstream's own part of a login.
    fn let_in(&mut self) {
        while !self.upstream_auth.is_done() && !self.upstream.messages.is_empty() {
            let message = self.upstream.messages.remove(0);
            let Leg { transport, out, .. } = &mut self.upstream;
            if self.upstream_auth.message(&message, transport, NOW, out).unwrap().is_some() {
                self.upstream_auth.answer(Answer::Accept, transport, NOW, out).unwrap();
            }
        }
    }

    /// As the driver does it. True: something was taken.
    fn step(&mut self, side: Side) -> bool {
        enum Asked {
            Act(Action),
            Decide(weir_wire::Lane),
            Identify,
        }
        let now = Timestamp::from_unix_ms(self.now);
        let mut moved = false;
        loop {
            let input = std::mem::take(&mut self.unread[side as usize]);
            let asked = match self.machine.step(side, &input, now, &mut self.out).unwrap() {
                Step::Act(action) => Asked::Act(action),
                Step::Decide { lane, .. } => Asked::Decide(lane),
                Step::Identify(_) => Asked::Identify,
            };
            let action = match asked {
                Asked::Act(action) => action,
                Asked::Decide(lane) => {
                    let verdict = Verdict::Allow(permit(self.plan.clone()));
                    self.machine.resume(lane, verdict, now, &mut self.out).unwrap()
                }
                Asked::Identify => {
                    let upstream = UpstreamLogin {
                        user: "deploy".into(),
                        database: String::new(),
                        secret: Arc::clone(&self.upstream_secret),
                        encrypted: false,
                        channel_binding: None,
                        binding_required: false,
                        random: [0; 18],
                        cancel: (0, 0),
                        session_tag: String::new(),
                    };
                    let admission = Admission::Allow { permit: permit(None), upstream };
                    self.machine.admit(admission, now, &mut self.out).unwrap()
                }
            };
            self.noted();
            let taken = match action {
                Action::Discard { len } => len,
                Action::NeedMore => {
                    self.unread[side as usize] = input;
                    return moved;
                }
                Action::Close | Action::Forward { .. } => panic!("{action:?}"),
            };
            moved = true;
            self.unread[side as usize] = input[taken..].to_vec();
        }
    }

    fn noted(&mut self) {
        for (lane, kind, bytes) in self.out.notes.with_lanes() {
            match kind {
                NoteKind::Answer => self.answers.push((lane.0, bytes.to_vec())),
                NoteKind::Outcome => self.outcomes.push(String::from_utf8_lossy(bytes).into_owned()),
                NoteKind::Alarm | NoteKind::Event | NoteKind::MaskLedger | NoteKind::Upload => {}
            }
        }
        self.out.notes.clear();
    }

    /// What the client has been sent on the channel's stdout, and forgets it.
    fn seen(&mut self) -> Vec<u8> {
        let messages = std::mem::take(&mut self.client.messages);
        messages.iter().filter(|message| message[0] == 94).flat_map(|message| message[9..].to_vec()).collect()
    }
}

/// A session whose client runs one program.
fn running(keys: &Keys, plan: Option<Arc<MaskPlan>>) -> Bench {
    let mut bench = Bench::new(keys, plan);
    bench.settle();
    assert!(bench.client.established);
    let token = Credential::Password(Zeroizing::new(b"token".to_vec()));
    let Leg { transport, out, .. } = &mut bench.client;
    let mut login = ClientAuth::begin("deploy+web1".into(), token, transport, out).unwrap();
    while !login.is_done() {
        bench.settle();
        for message in std::mem::take(&mut bench.client.messages) {
            let Leg { transport, out, .. } = &mut bench.client;
            login.message(&message, transport, out).unwrap();
        }
    }
    bench.client.send(&open(7, 1 << 20));
    bench.settle();
    bench.upstream.send(&confirm(7, 9, 1 << 20));
    bench.settle();
    bench.client.send(&exec(9, "cat file"));
    bench.settle();
    assert!(bench.upstream.messages.iter().any(|message| message[0] == 98), "the program was asked for");
    bench.upstream.send(&plain(99, 7));
    bench.settle();
    bench.client.messages.clear();
    bench
}

fn keys() -> Keys {
    let keys = Keys::new();
    keys.make("gateway", "ed25519").make("upstream", "ed25519");
    keys
}

const SAID: &[u8] = b"a secret-word, and secret-word secret-word\n";
const SHOWN: &[u8] = b"a [none]*****, and [none]***** [none]*****\n";

#[test]
fn what_a_program_says_is_masked_however_it_is_cut_and_recorded_as_it_is_seen() {
    let keys = keys();
    for cut in 0..=SAID.len() {
        let mut bench = running(&keys, Some(plan()));
        for piece in [&SAID[..cut], &SAID[cut..]].into_iter().filter(|piece| !piece.is_empty()) {
            bench.upstream.send(&data(7, piece));
            bench.settle();
        }
        bench.upstream.send(&text(98).word(7).string("exit-status").flag(false).word(3).0);
        bench.upstream.send(&plain(96, 7));
        bench.upstream.send(&plain(97, 7));
        bench.settle();
        assert_eq!(bench.seen(), SHOWN, "cut at {cut}");
        let recorded: Vec<u8> = bench
            .answers
            .iter()
            .filter(|(lane, _)| *lane == 0)
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        assert_eq!(recorded, SHOWN, "cut at {cut}");
        let len = SAID.len();
        let outcome = format!("{{\"exit_status\":3,\"to_upstream_bytes\":0,\"to_client_bytes\":{len}}}");
        assert_eq!(bench.outcomes, [outcome]);
    }
}

#[test]
fn a_prompt_that_could_begin_something_protected_comes_after_a_moment() {
    let mut bench = running(&keys(), Some(plan()));
    bench.upstream.send(&data(7, b"secret"));
    bench.settle();
    assert_eq!(bench.seen(), b"");
    let due = bench.machine.deadline().expect("something is held back");
    assert!(due.unix_ms() - NOW <= 200);
    bench.now = due.unix_ms();
    bench.machine.tick(due, &mut bench.out).unwrap();
    bench.noted();
    bench.settle();
    assert_eq!(bench.seen(), b"secret");
}

#[test]
fn what_nothing_is_masked_in_passes_as_it_comes() {
    let mut bench = running(&keys(), None);
    bench.upstream.send(&data(7, SAID));
    bench.settle();
    assert_eq!(bench.seen(), SAID);
    assert!(bench.machine.ends_at_expiry() && !bench.machine.idle());
}
