//! A panic inside one recorded session, on a real runtime, in a task as the accept loop makes it: that session is
//! closed in the record, everything it held comes back, and the one beside it on the same core notices nothing.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_policy::{Caller, Identity, RecordLevel, Target, Timestamp};
use weir_ring::{Consumer, Flow};
use weir_segment::{HEAD_LEN, Head, Kind, SessionId};

use super::login::Opening;
use super::purse::SessionPurse;
use super::simulation::{begin_with, until_done, worker_and_errands};
use crate::clock::Now;
use crate::net::Runtime;
use crate::shared::{Errand, Mail, Tally};
use crate::standing::Standing;
use crate::tokens::Proven;
use crate::worker::Worker;

const SESSION: SessionId = SessionId(4711);

fn standing() -> Arc<Standing> {
    let connection = weir_control::Connection {
        name: "lines".into(),
        protocol: weir_control::Protocol::Postgres,
        upstream: weir_control::UpstreamAddress::Unix { path: "/nowhere".into() },
        tls: weir_control::UpstreamTls::Off,
        channel_binding: weir_control::ChannelBinding::Prefer,
        database: "d".into(),
        record: weir_control::Record::Fast,
        originals: Vec::new(),
        host_keys: Vec::new(),
        hold_wait_ms: 0,
    };
    let state = weir_control::State {
        version: 1,
        issuers: Vec::new(),
        connections: vec![connection],
        grants: Vec::new(),
        revocations: Vec::new(),
        mask_key: weir_control::MaskKey { version: 1, key: "00".repeat(32) },
        approval_keys: Vec::new(),
        run_approvals: Vec::new(),
    };
    Arc::new(Standing::new(&state).unwrap())
}

/// A login that succeeded, holding the only place its identity may have.
fn opening(worker: &Rc<Worker>) -> Opening {
    let standing = standing();
    worker.open(Mail::Standing(Arc::clone(&standing)));
    let identity = Identity {
        issuer: "i".into(),
        subject: "s".into(),
        groups: Vec::new(),
        claims: Vec::new(),
        token_id: None,
        run: None,
        purpose: None,
        expires: Timestamp::from_unix_ms(u64::MAX),
    };
    let verified = weir_token::Verified { identity: identity.clone(), issued: None, bound_to: None };
    let identity = Arc::new(identity);
    let target = Target { connection: "lines".into(), role: "r".into() };
    Opening {
        caller: Caller::new(Arc::clone(&identity), target, None, RecordLevel::Fast),
        proven: Arc::new(Proven { verified, identity: Arc::clone(&identity) }),
        level: RecordLevel::Fast,
        purse: SessionPurse::new(worker, &identity),
        upstream: Arc::clone(standing.connection("lines").unwrap()),
        standing,
        places: vec![worker.shared.tally.identity("i", "s", 1).unwrap()],
        application: None,
        session: SESSION,
    }
}

/// What the record has of the session: kinds of its events, and the last one's bytes.
fn recorded(consumer: &mut Consumer) -> (Vec<Kind>, Vec<u8>) {
    let (mut kinds, mut last) = (Vec::new(), Vec::new());
    consumer
        .drain(|record| {
            let mut event = vec![0; record.len()];
            record.copy_to(&mut event);
            let head = Head::read(event.first_chunk::<HEAD_LEN>().unwrap());
            if head.session == SESSION {
                kinds.extend(head.kind());
                last = event;
            }
            Flow::Go
        })
        .unwrap();
    (kinds, last)
}

fn read_to_end(stream: &mut UnixStream) -> String {
    let mut all = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_to_string(&mut all).unwrap();
    all
}

fn count(tally: &Tally, worker: &Worker) -> (usize, usize) {
    (tally.connections(), worker.roll.count())
}

#[test]
fn a_panic_closes_its_session_in_the_record_and_gives_everything_back() {
    Runtime::new().unwrap().block_on(async {
        let (worker, errands) = worker_and_errands();
        let tally = Arc::clone(&worker.shared.tally);
        let mut consumer = Consumer::attach(worker.record.borrow().handle().offer().unwrap()).unwrap();
        let (mut panicking, mut its_upstream) = begin_with(&worker, |session| {
            session.desk.open(&worker, opening(&worker), None, Now::read()).unwrap();
        });
        let (mut well, mut upstream) = begin_with(&worker, |_| {});
        assert_eq!(count(&tally, &worker), (2, 2));
        assert!(tally.identity("i", "s", 1).is_none(), "its identity has no place left");

        let peers = std::thread::spawn(move || {
            panicking.write_all(b"fine\n").unwrap();
            its_upstream.read_exact(&mut [0; 5]).unwrap();
            panicking.write_all(b"!\n").unwrap();
            let ends = (read_to_end(&mut panicking), read_to_end(&mut its_upstream));
            // Whoever runs next on this core gets none of what the other left half written.
            well.write_all(b"a\n?\n").unwrap();
            well.shutdown(Shutdown::Write).unwrap();
            (ends, read_to_end(&mut upstream), read_to_end(&mut well))
        });
        // Its neighbour ends last, so that both are over.
        let (ends, passed, answered) = until_done(peers).await;
        assert_eq!(ends, (String::new(), String::new()), "both of its peers see the end, and nothing else");
        assert_eq!((passed.as_str(), answered.as_str()), ("a\n(asked)\n", ""));
        assert_eq!(worker.metrics.panics.get(), 1);

        let (kinds, last) = recorded(&mut consumer);
        assert_eq!(kinds, [Kind::SessionOpen, Kind::SessionClose]);
        let reason = b"the gateway failed";
        assert!(
            last.windows(reason.len()).any(|bytes| bytes == reason),
            "{}",
            String::from_utf8_lossy(&last)
        );
        let told = errands.try_iter().find_map(|errand| {
            let Errand::SessionClosed { session, reason } = errand else { return None };
            (session == SESSION.to_string()).then_some(reason)
        });
        assert_eq!(told.as_deref(), Some("the gateway failed"));

        assert!(tally.identity("i", "s", 1).is_some(), "its identity's place is back");
        let mut next = None;
        let _peers = begin_with(&worker, |session| next = Some(Rc::clone(&session.live)));
        assert!(next.is_some_and(|next| next.slot < 2), "slots are reused");
        assert_eq!(count(&tally, &worker), (1, 1));
    });
}
