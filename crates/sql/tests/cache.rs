//! The cache: what it keeps, what it forgets, and for whom.

use std::rc::Rc;

use weir_sql::{Cache, Limits};

fn text(owner: u64, n: usize) -> String {
    format!("select c{n} from owner_{owner}")
}

#[test]
fn a_repeated_text_has_the_same_facts_and_another_text_another_id() {
    let mut cache = Cache::new(Limits::default());
    let first = cache.facts(b"select 1", 1);
    assert!(Rc::ptr_eq(&first, &cache.facts(b"select 1", 2)));
    let second = cache.facts(b"select  1", 1);
    assert_eq!(first.normalised, second.normalised);
    assert_ne!(second.id, first.id);
}

#[test]
fn texts_that_differ_in_literals_alone_share_a_shape_and_are_kept_when_they_come_again() {
    let mut cache = Cache::new(Limits::default());
    let first = cache.facts(b"select name from t where id = 1", 1);
    let second = cache.facts(b"select name from t where id = 22", 1);
    assert_eq!((second.shape, second.fingerprint), (first.shape, first.fingerprint));
    assert!(Rc::ptr_eq(&first.statements, &second.statements));
    assert_eq!(second.normalised, "select name from t where id = 22");
    assert_eq!(cache.len(), 1, "nobody may ever ask for it again");
    let again = cache.facts(b"select name from t where id = 22", 1);
    assert_eq!(second.id, 0);
    assert!(again.id > first.id);
    assert!(Rc::ptr_eq(&again, &cache.facts(b"select name from t where id = 22", 1)));
    for other in
        ["select name from t where id = 'a'", "select name from u where id = 1", "select name from t"]
    {
        assert_ne!(cache.facts(other.as_bytes(), 1).shape, first.shape, "{other}");
    }
}

#[test]
fn an_evicted_text_gets_a_new_id() {
    let mut cache = Cache::new(Limits { text_bytes: 0, ..Limits::default() });
    let ids: Vec<u64> = (0..3).map(|_| cache.facts(b"select 1", 1).id).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert!(cache.is_empty());
}

#[test]
fn it_stays_within_its_bytes_whoever_fills_it() {
    let limits = Limits { bytes: 100_000, owner_bytes: 20_000, ..Limits::default() };
    let mut cache = Cache::new(limits);
    for n in 0..5_000 {
        let owner = (n as u64 * 7) % 23;
        cache.facts(text(owner, n).as_bytes(), owner);
        cache.facts(text(owner, n / 2).as_bytes(), owner);
        assert!(cache.bytes() <= limits.bytes);
    }
    assert!(cache.len() > 50, "{}", cache.len());
}

#[test]
fn one_owner_may_use_all_of_it_while_nobody_else_needs_it() {
    let limits = Limits { bytes: 100_000, owner_bytes: 20_000, ..Limits::default() };
    let mut cache = Cache::new(limits);
    for n in 0..100 {
        cache.facts(text(1, n).as_bytes(), 1);
    }
    assert_eq!(cache.len(), 100);
    assert!(cache.bytes() > limits.owner_bytes);
}

#[test]
fn a_flood_of_unique_texts_evicts_nobody_elses() {
    let limits = Limits { bytes: 100_000, owner_bytes: 20_000, ..Limits::default() };
    let mut cache = Cache::new(limits);
    let before: Vec<_> = (1..=3)
        .flat_map(|owner| (0..20).map(move |n| (owner, n)))
        .map(|(o, n)| cache.facts(text(o, n).as_bytes(), o))
        .collect();
    for n in 0..10_000 {
        cache.facts(text(9, n).as_bytes(), 9);
    }
    for (facts, (owner, n)) in before.iter().zip((1..=3).flat_map(|owner| (0..20).map(move |n| (owner, n)))) {
        assert!(Rc::ptr_eq(facts, &cache.facts(text(owner, n).as_bytes(), owner)), "{owner} {n}");
    }
}

#[test]
fn an_owner_with_a_claim_takes_room_from_one_above_its_share() {
    let limits = Limits { bytes: 100_000, owner_bytes: 20_000, ..Limits::default() };
    let mut cache = Cache::new(limits);
    for n in 0..1_000 {
        cache.facts(text(1, n).as_bytes(), 1);
    }
    let mine: Vec<_> = (0..20).map(|n| cache.facts(text(2, n).as_bytes(), 2)).collect();
    for n in 1_000..2_000 {
        cache.facts(text(1, n).as_bytes(), 1);
    }
    for (n, facts) in mine.iter().enumerate() {
        assert!(Rc::ptr_eq(facts, &cache.facts(text(2, n).as_bytes(), 2)), "{n}");
    }
}

#[test]
fn what_is_asked_for_outlives_what_is_not() {
    let limits = Limits { bytes: 30_000, owner_bytes: 30_000, ..Limits::default() };
    let mut cache = Cache::new(limits);
    let kept = cache.facts(b"select 'often'", 1);
    for n in 0..2_000 {
        cache.facts(text(1, n).as_bytes(), 1);
        assert!(Rc::ptr_eq(&kept, &cache.facts(b"select 'often'", 1)), "{n}");
    }
}
