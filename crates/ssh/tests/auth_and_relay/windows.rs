//! Window credit where bytes change on the way: two peers that keep their own accounts, and a stream that is rewritten between them.

use proptest::prelude::*;
use weir_ssh::Limits;
use weir_ssh::Permits;
use weir_ssh::relay::{Letters, Relay, Side, Step};

use crate::channels::{Bench, ID};
use crate::text::{adjust, confirm, data, open, plain, text};

#[test]
fn credit_of_an_unchanged_stream_passes_number_for_number() {
    let mut bench = Bench::open(1000);
    assert!(bench.forwards(Side::Upstream, &data(10, &[1; 600])));
    assert!(matches!(bench.step(Side::Client, &adjust(20, 600)), Step::Sent(_)));
    assert_eq!(bench.letters(), [(Side::Upstream, adjust(20, 600))]);
}

#[test]
fn words_of_the_gateway_are_paid_from_the_clients_window_and_made_up_later() {
    let mut bench = Bench::open(10);
    bench.relay.say(ID, "hello", &mut bench.letters).unwrap();
    assert_eq!(bench.letters(), [(Side::Client, text(95).word(10).word(1).string("hello").0)]);
    // The upstream still believes in ten, the client takes five.
    assert!(matches!(bench.step(Side::Upstream, &data(10, b"0123456789")), Step::Sent(_)));
    assert_eq!(bench.letters(), [(Side::Client, data(10, b"01234"))]);
    bench.step(Side::Client, &adjust(20, 10));
    assert_eq!(bench.letters(), [(Side::Client, data(10, b"56789")), (Side::Upstream, adjust(20, 5))]);
    // An end waits behind what waits.
    bench.relay.say(ID, "more", &mut bench.letters).unwrap();
    bench.step(Side::Upstream, &data(10, b"abcde"));
    assert!(matches!(bench.step(Side::Upstream, &plain(96, 10)), Step::Sent(_)));
    assert!(bench.letters.is_empty());
    bench.step(Side::Client, &adjust(20, 100));
    let letters = bench.letters();
    assert_eq!(letters[..2], [(Side::Client, data(10, b"bcde")), (Side::Client, plain(96, 10))]);
}

#[derive(Clone, Debug)]
enum Act {
    /// The source sends as much as it may, up to this; it becomes this many percent.
    Send { len: usize, percent: usize },
    /// The receiver has read this much of what it got.
    Read(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..5000usize, 0..300usize).prop_map(|(len, percent)| Act::Send { len, percent }),
        (1..8000usize).prop_map(Act::Read),
    ]
}

/// Both peers' own books.
struct Books {
    relay: Relay,
    letters: Letters,
    source_may: usize,
    receiver_free: usize,
    unread: usize,
    got: Vec<u8>,
}

impl Books {
    fn post(&mut self) {
        for (to, letter) in self.letters.iter() {
            let len = u32::from_be_bytes(letter[5..9].try_into().unwrap()) as usize;
            match (to, letter[0]) {
                (Side::Upstream, 93) => self.source_may += len,
                (Side::Client, 94) => {
                    assert_eq!(letter.len(), 9 + len);
                    assert!(len <= self.receiver_free, "more than the receiver's window");
                    self.receiver_free -= len;
                    self.unread += len;
                    self.got.extend_from_slice(&letter[9..]);
                }
                other => panic!("{other:?}"),
            }
        }
        self.letters.clear();
    }
}

proptest! {
    #[test]
    fn a_rewritten_stream_arrives_whole_and_never_stalls(window in 1..9000u32, acts in prop::collection::vec(act(), 1..80)) {
        let mut relay = Relay::new(Limits { backlog_bytes: 1 << 24, ..Limits::default() }, Permits::ALL, None);
        let mut letters = Letters::default();
        relay.step(Side::Client, &open(10, window), &mut letters).unwrap();
        relay.step(Side::Upstream, &confirm(10, 20, 99), &mut letters).unwrap();
        relay.rewrite(ID, Side::Upstream);
        let free = window as usize;
        let mut books =
            Books { relay, letters, source_may: free, receiver_free: free, unread: 0, got: Vec::new() };
        let mut produced = Vec::new();
        // At the end everything is read, again and again, until nothing moves.
        let rest = std::iter::repeat_n(Act::Read(usize::MAX), 3000);
        for act in acts.into_iter().chain(rest) {
            match act {
                Act::Send { len, percent } => {
                    let len = len.min(books.source_may);
                    books.source_may -= len;
                    let message = data(10, &vec![0; len]);
                    let step = books.relay.step(Side::Upstream, &message, &mut books.letters).unwrap();
                    let Step::Rewrite { channel, stream, .. } = step else { panic!("{step:?}") };
                    let becomes: Vec<u8> = (0..len * percent / 100).map(|at| (produced.len() + at) as u8).collect();
                    produced.extend_from_slice(&becomes);
                    books.relay.rewritten(channel, Side::Upstream, stream, &becomes, &mut books.letters).unwrap();
                }
                Act::Read(len) => {
                    let len = len.min(books.unread);
                    if len == 0 {
                        continue;
                    }
                    books.unread -= len;
                    books.receiver_free += len;
                    let credit = adjust(20, u32::try_from(len).unwrap());
                    books.relay.step(Side::Client, &credit, &mut books.letters).unwrap();
                }
            }
            books.post();
        }
        prop_assert!(books.got == produced, "{} of {}", books.got.len(), produced.len());
        // All is read, so everybody has what there was in the beginning: none lost, none created.
        prop_assert_eq!((books.source_may, books.receiver_free), (free, free));
    }
}

#[test]
fn a_client_is_given_a_bounded_window_whatever_the_upstream_grants_and_all_of_it_in_the_end() {
    let limits = Limits { window_bytes: 1000, ..Limits::default() };
    let mut bench = Bench::with(limits, Permits::ALL);
    assert!(bench.forwards(Side::Client, &open(10, 50)));
    assert!(matches!(bench.step(Side::Upstream, &confirm(10, 20, 4500)), Step::Sent(_)));
    assert_eq!(bench.letters(), [(Side::Client, confirm(10, 20, 1000))]);
    let (mut may, mut sent) = (1000, 0);
    while may > 0 {
        let len = may.min(300);
        assert!(matches!(bench.step(Side::Client, &data(20, &vec![0; len])), Step::Forward(_)));
        (may, sent) = (may - len, sent + len);
        for (to, letter) in bench.letters() {
            assert_eq!((to, &letter[..5]), (Side::Client, &plain(93, 10)[..]));
            may += u32::from_be_bytes(letter[5..9].try_into().unwrap()) as usize;
        }
        assert!(may <= 1000);
    }
    assert_eq!(sent, 4500);
}
