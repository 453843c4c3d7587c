//! Which patterns share a bit, which bits share a pass, and which offsets a pass looks at.

use super::nibbles::Nibbles;
use super::odds::{Odds, Texts, both, mean};
use super::search::{BUCKETS, Boundary, Pass, Probe};
use super::shape::{Before, Shape};

/// Looked at in one pass.
const MAX_PROBES: usize = 12;
/// Chance of a false candidate at a position that is worth no further probe.
const RARE: f32 = 1.0 / 16_384.0;
/// A pass more is cheaper than this many more false candidates.
const WORTH_A_PASS: f32 = 1.0 / 1_024.0;
const MAX_PASSES: usize = 4;

/// Patterns told apart no further, and what all of them need.
#[derive(Clone, Debug)]
struct Bucket {
    patterns: Vec<u32>,
    before: Before,
    sets: Vec<Nibbles>,
    /// Of what stands before, and of each set.
    odds_before: Odds,
    odds: Vec<Odds>,
}

impl Bucket {
    fn new(patterns: Vec<u32>, before: Before, sets: Vec<Nibbles>, texts: &Texts) -> Self {
        let odds = sets.iter().map(|set| texts.of(*set)).collect();
        Self { patterns, before, sets, odds_before: texts.before(before), odds }
    }

    fn of(pattern: u32, shape: &Shape, texts: &Texts) -> Self {
        Self::new(vec![pattern], shape.before, shape.bytes.iter().map(|set| (*set).into()).collect(), texts)
    }

    fn join(&self, other: &Self, texts: &Texts) -> Self {
        let mut patterns = [self.patterns.as_slice(), &other.patterns].concat();
        patterns.sort_unstable();
        patterns.dedup();
        let before = if self.before == other.before { self.before } else { Before::Any };
        let sets = self.sets.iter().zip(&other.sets).map(|(one, other)| one.union(*other));
        Self::new(patterns, before, sets.collect(), texts)
    }

    /// The chance of a candidate with all offsets looked at.
    fn rate(&self) -> f32 {
        mean(self.odds.iter().fold(self.odds_before, |all, odds| both(all, *odds)))
    }
}

/// The chance of a candidate at a position under the probes that these shapes alone would get.
pub(super) fn rate(shapes: &[Shape]) -> f32 {
    let texts = Texts::new();
    probes(&shapes.iter().map(|shape| Bucket::of(0, shape, &texts)).collect::<Vec<_>>()).1
}

/// Passes that find a candidate wherever one of the shapes is met.
pub(super) fn passes(shapes: &[(u32, Shape)]) -> Vec<Pass> {
    let texts = Texts::new();
    let mut buckets: Vec<_> =
        shapes.iter().map(|(pattern, shape)| Bucket::of(*pattern, shape, &texts)).collect();
    for passes in (1..=MAX_PASSES).rev() {
        let (joined, cost) = joined(&buckets, passes * BUCKETS, &texts);
        // With the most passes there is no choice; with fewer, only if little is lost.
        if passes < MAX_PASSES && cost > WORTH_A_PASS {
            break;
        }
        buckets = joined;
    }
    buckets.sort_by_key(|bucket| bucket.sets.len());
    buckets.chunks(BUCKETS).map(pass).collect()
}

/// At most `count` buckets, and how much more is met by chance for it.
fn joined(buckets: &[Bucket], count: usize, texts: &Texts) -> (Vec<Bucket>, f32) {
    let mut buckets = buckets.to_vec();
    let mut cost = 0.0;
    while buckets.len() > count {
        let mut best: Option<(usize, usize, Bucket, f32)> = None;
        for (at, one) in buckets.iter().enumerate() {
            for (after, other) in buckets.iter().enumerate().skip(at + 1) {
                let both = one.join(other, texts);
                let more = both.rate() - one.rate() - other.rate();
                if best.as_ref().is_none_or(|best| more < best.3) {
                    best = Some((at, after, both, more));
                }
            }
        }
        let Some((at, after, both, more)) = best else { break };
        buckets.remove(after);
        buckets.remove(at);
        buckets.push(both);
        cost += more;
    }
    (buckets, cost)
}

fn pass(buckets: &[Bucket]) -> Pass {
    let probe = |at: &usize| {
        let (mut low, mut high) = ([0_u8; 16], [0_u8; 16]);
        for (bucket, bit) in buckets.iter().zip(0..) {
            let set = bucket.sets.get(*at).copied().unwrap_or(Nibbles::ALL);
            for (table, nibbles) in [(&mut low, set.low), (&mut high, set.high)] {
                for (entry, nibble) in table.iter_mut().zip(0..) {
                    *entry |= u8::from(nibbles >> nibble & 1 == 1) << bit;
                }
            }
        }
        Probe { at: *at, low, high }
    };
    let allowed = |never: Before| {
        buckets.iter().zip(0..).fold(0, |bits, (bucket, bit)| bits | u8::from(bucket.before != never) << bit)
    };
    let before = Boundary { word: allowed(Before::NoWord), other: allowed(Before::Word) };
    let patterns = buckets.iter().map(|bucket| bucket.patterns.clone()).collect();
    Pass::new(before, probes(buckets).0.iter().map(probe).collect(), patterns)
}

/// The offsets to look at, the most telling first, and the chance of a candidate that is left. What stands before is
/// always looked at.
fn probes(buckets: &[Bucket]) -> (Vec<usize>, f32) {
    let longest = buckets.iter().map(|bucket| bucket.sets.len()).max().unwrap_or(0);
    let mut chosen = Vec::new();
    let mut odds: Vec<Odds> = buckets.iter().map(|bucket| bucket.odds_before).collect();
    let mut rate = f32::INFINITY;
    while chosen.len() < MAX_PROBES && rate > RARE {
        let with = |at: usize| -> (Vec<Odds>, f32) {
            let each = buckets
                .iter()
                .zip(&odds)
                .map(|(bucket, odds)| bucket.odds.get(at).map_or(*odds, |here| both(*odds, *here)));
            let odds: Vec<Odds> = each.collect();
            let rate = odds.iter().map(|odds| mean(*odds)).sum();
            (odds, rate)
        };
        let left = (0..longest).filter(|at| !chosen.contains(at));
        let best = left.map(|at| (at, with(at))).min_by(|(_, one), (_, other)| one.1.total_cmp(&other.1));
        let Some((at, (narrowed, narrowed_rate))) = best else { break };
        if narrowed_rate > rate * 0.9 {
            break;
        }
        chosen.push(at);
        (odds, rate) = (narrowed, narrowed_rate);
    }
    (chosen, rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automaton::forward_nfa;

    fn shapes(texts: &[String]) -> Vec<(u32, Shape)> {
        (0..).zip(texts).map(|(at, text)| (at, Shape::of(&forward_nfa(text).unwrap()))).collect()
    }

    #[test]
    fn few_patterns_take_one_pass_and_many_take_few() {
        let texts: Vec<String> = (0..60).map(|at| format!("{}x{}[0-9]{{4}}", at % 10, at / 10)).collect();
        for (count, expected) in [(1, 1), (8, 1), (10, 1), (60, 4)] {
            let passes = passes(&shapes(&texts[..count]));
            assert!((1..=expected).contains(&passes.len()), "{count} patterns take {}", passes.len());
        }
        assert_eq!(passes(&[]).len(), 0);
    }

    #[test]
    fn what_is_rare_is_told_by_few_offsets() {
        let texts = [r"AKIA[A-Z0-9]{16}", r"\b\d{3}-\d{2}-\d{4}\b", r"[a-z]{8}"].map(str::to_owned);
        let shapes = shapes(&texts);
        let rates: Vec<f32> = shapes.iter().map(|(_, shape)| rate(std::slice::from_ref(shape))).collect();
        assert!(rates[0] < RARE && rates[1] < WORTH_A_PASS && rates[2] > 1.0 / 40.0, "{rates:?}");
    }
}
