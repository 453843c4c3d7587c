//! The search itself: one pass over a text tells where one of up to eight buckets of patterns may have a match.
//!
//! A probe looks at one offset for all buckets at once: two table look-ups by half-byte give a byte with a bit a bucket.
//! 32 positions at a time with AVX2, else one by one; both find the same.

use super::shape::DEPTH;

/// Bits of a probe's answer.
pub(super) const BUCKETS: usize = 8;
/// Positions looked at together.
const BLOCK: usize = 32;
/// Probes looked at before it is asked whether anything is left.
const EAGER: usize = 3;
/// Probes after those that are looked at between two such questions: a wrong guess of the answer costs more than one.
const TOGETHER: usize = 4;

/// What the byte before a match tells: the buckets that may follow one of a word, and any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) word: u8,
    pub(super) other: u8,
}

impl Boundary {
    const fn buckets(self, byte: u8) -> u8 {
        if byte.is_ascii_alphanumeric() || byte == b'_' { self.word } else { self.other }
    }
}

/// What one offset tells.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// 0 is the match's first byte; less than [`DEPTH`].
    pub(super) at: usize,
    /// A bit for each bucket whose set has the half-byte.
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

impl Probe {
    fn buckets(&self, byte: u8) -> u8 {
        let half = |table: &[u8; 16], at: u8| table.get(usize::from(at)).copied().unwrap_or_default();
        half(&self.low, byte & 15) & half(&self.high, byte >> 4)
    }
}

/// The bytes of words as two look-ups tell them, by a bit in both: for digits, for letters up to `O` and `o`, for those
/// after, and for `_`.
const WORD_LOW: [u8; 16] = [5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6, 2, 2, 2, 2, 10];
const WORD_HIGH: [u8; 16] = [0, 0, 0, 1, 2, 12, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0];

/// The buckets that may match at each position of a block, and a bit for each position that has any.
struct Lanes {
    some: u32,
    buckets: [u8; BLOCK],
}

#[derive(Clone, Debug)]
pub(super) struct Pass {
    before: Boundary,
    probes: Vec<Probe>,
    /// The patterns of each bucket.
    buckets: Vec<Vec<u32>>,
    /// Bytes that a block and what it is told by take: the one before, and as far as the farthest probe.
    window: usize,
}

impl Pass {
    /// Probes beyond [`DEPTH`] are left out: fewer probes find more candidates.
    pub(super) fn new(before: Boundary, mut probes: Vec<Probe>, buckets: Vec<Vec<u32>>) -> Self {
        probes.retain(|probe| probe.at < DEPTH);
        let farthest = probes.iter().map(|probe| probe.at).max().unwrap_or(0);
        Self { before, probes, buckets, window: 1 + BLOCK + farthest }
    }

    /// Calls `candidate(pattern, start)` wherever a match may start, in order of `start`; stops where it says so.
    pub(super) fn search<E>(
        &self,
        text: &[u8],
        mut candidate: impl FnMut(u32, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut report = |base: usize, lanes: &Lanes| {
            let mut some = lanes.some;
            while some != 0 {
                let lane = some.trailing_zeros() as usize;
                some &= some - 1;
                let start = base + lane;
                if start >= text.len() {
                    break;
                }
                let mut bits = lanes.buckets.get(lane).copied().unwrap_or_default();
                while bits != 0 {
                    let bucket = self.buckets.get(bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                    for pattern in bucket.into_iter().flatten() {
                        candidate(*pattern, start)?;
                    }
                }
            }
            Ok(())
        };
        if text.is_empty() {
            return Ok(());
        }
        // The first block has nothing before it, the last ones not enough after them: both are looked at in a copy.
        let mut base = 0;
        self.edge(text, &mut base, BLOCK, &mut report)?;
        self.blocks(text, &mut base, &mut report)?;
        self.edge(text, &mut base, text.len(), &mut report)
    }

    /// Looks at the blocks from `base` to `until` with NUL around the text.
    fn edge<E>(
        &self,
        text: &[u8],
        base: &mut usize,
        until: usize,
        report: &mut impl FnMut(usize, &Lanes) -> Result<(), E>,
    ) -> Result<(), E> {
        while *base < until.min(text.len()) {
            let mut copy = [0; 1 + BLOCK + DEPTH];
            let (before, skipped) = base.checked_sub(1).map_or((0, 1), |before| (before, 0));
            let from = text.get(before..).unwrap_or_default();
            for (to, byte) in copy.iter_mut().skip(skipped).zip(from) {
                *to = *byte;
            }
            let here = *base;
            self.blocks(&copy, &mut 1, &mut |_, lanes: &Lanes| report(here, lanes))?;
            *base += BLOCK;
        }
        Ok(())
    }

    /// Calls `report` for each block from `base` (at least 1) on that lies whole in `text` and has a candidate; `base` moves
    /// to the first block that does not.
    fn blocks<E>(
        &self,
        text: &[u8],
        base: &mut usize,
        report: &mut impl FnMut(usize, &Lanes) -> Result<(), E>,
    ) -> Result<(), E> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the feature is there.
            return unsafe { self.blocks_avx2(text, base, report) };
        }
        self.blocks_plain(text, base, report)
    }

    fn blocks_plain<E>(
        &self,
        text: &[u8],
        base: &mut usize,
        report: &mut impl FnMut(usize, &Lanes) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(window) = text.get(*base - 1..*base - 1 + self.window) {
            let at = *base;
            *base += BLOCK;
            let mut lanes = Lanes { some: 0, buckets: [u8::MAX; BLOCK] };
            for (lane, bits) in lanes.buckets.iter_mut().enumerate() {
                let byte = |at: usize| window.get(lane + at).copied().unwrap_or_default();
                *bits = self.before.buckets(byte(0));
                for probe in &self.probes {
                    *bits &= probe.buckets(byte(1 + probe.at));
                }
                lanes.some |= u32::from(*bits != 0) << lane;
            }
            if lanes.some != 0 {
                report(at, &lanes)?;
            }
        }
        Ok(())
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn blocks_avx2<E>(
        &self,
        text: &[u8],
        base: &mut usize,
        report: &mut impl FnMut(usize, &Lanes) -> Result<(), E>,
    ) -> Result<(), E> {
        use std::arch::x86_64::{
            __m128i, __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_blendv_epi8,
            _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8,
            _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16,
            _mm256_storeu_si256, _mm256_testz_si256,
        };
        let (eager, rest) = self.probes.split_at_checked(EAGER).unwrap_or((&self.probes, &[]));
        let half = _mm256_set1_epi8(15);
        let halves =
            |bytes| (_mm256_and_si256(bytes, half), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half));
        // SAFETY: `at <= 1 + farthest`, and the window is 1 + BLOCK + farthest bytes long.
        let load = |window: &[u8], at: usize| unsafe {
            _mm256_loadu_si256(window.as_ptr().add(at).cast::<__m256i>())
        };
        // SAFETY: a table is 16 bytes long.
        let table = |table: &[u8; 16]| unsafe {
            _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast::<__m128i>()))
        };
        let look = |all: __m256i, window: &[u8], probe: &Probe| {
            let (low, high) = halves(load(window, 1 + probe.at));
            let low = _mm256_shuffle_epi8(table(&probe.low), low);
            let high = _mm256_shuffle_epi8(table(&probe.high), high);
            _mm256_and_si256(all, _mm256_and_si256(low, high))
        };
        let tells_before = self.before.word & self.before.other != u8::MAX;
        let (word, other) = (self.before.word.cast_signed(), self.before.other.cast_signed());
        let look_before = |all: __m256i, window: &[u8]| {
            let (low, high) = halves(load(window, 0));
            let low = _mm256_shuffle_epi8(table(&WORD_LOW), low);
            let high = _mm256_shuffle_epi8(table(&WORD_HIGH), high);
            let none = _mm256_cmpeq_epi8(_mm256_and_si256(low, high), _mm256_setzero_si256());
            let allowed = _mm256_blendv_epi8(_mm256_set1_epi8(word), _mm256_set1_epi8(other), none);
            _mm256_and_si256(all, allowed)
        };
        while let Some(window) = text.get(*base - 1..*base - 1 + self.window) {
            let at = *base;
            *base += BLOCK;
            let mut all = _mm256_set1_epi8(-1);
            for probe in eager {
                all = look(all, window, probe);
            }
            if tells_before && _mm256_testz_si256(all, all) == 0 {
                all = look_before(all, window);
            }
            for probes in rest.chunks(TOGETHER) {
                if _mm256_testz_si256(all, all) == 1 {
                    break;
                }
                for probe in probes {
                    all = look(all, window, probe);
                }
            }
            if _mm256_testz_si256(all, all) == 0 {
                let none = _mm256_movemask_epi8(_mm256_cmpeq_epi8(all, _mm256_setzero_si256()));
                let mut lanes = Lanes { some: !none.cast_unsigned(), buckets: [0; BLOCK] };
                // SAFETY: the array is 32 bytes long.
                unsafe { _mm256_storeu_si256(lanes.buckets.as_mut_ptr().cast::<__m256i>(), all) };
                report(at, &lanes)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Every candidate, found by looking at each position by itself.
    fn expected(pass: &Pass, text: &[u8]) -> Vec<(u32, usize)> {
        let byte = |start: usize, at: usize| {
            (start + at).checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(0)
        };
        let buckets = |start: usize| {
            let before = pass.before.buckets(byte(start, 0));
            pass.probes.iter().fold(before, |bits, probe| bits & probe.buckets(byte(start, 1 + probe.at)))
        };
        let patterns = |bits: u8| {
            let set = pass.buckets.iter().enumerate().filter(move |(bucket, _)| bits >> bucket & 1 == 1);
            set.flat_map(|(_, patterns)| patterns.clone())
        };
        let at = |start| patterns(buckets(start)).map(move |pattern| (pattern, start));
        (0..text.len()).flat_map(at).collect()
    }

    fn found(pass: &Pass, text: &[u8]) -> Vec<(u32, usize)> {
        let mut found = Vec::new();
        pass.search(text, |pattern, start| {
            found.push((pattern, start));
            Ok::<_, Infallible>(())
        })
        .unwrap();
        found
    }

    fn before() -> impl Strategy<Value = Boundary> {
        (any::<u8>(), any::<u8>()).prop_map(|(word, other)| Boundary { word, other })
    }

    fn probes() -> impl Strategy<Value = Vec<Probe>> {
        let probe = (0..DEPTH, any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u8>());
        let probe =
            probe.prop_map(|(at, low, high, more)| Probe { at, low: low.map(|bits| bits | more), high });
        proptest::collection::vec(probe, 0..7)
    }

    proptest! {
        #[test]
        fn a_pass_finds_each_candidate_wherever_it_lies(
            (before, probes) in (before(), probes()),
            text in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let pass = Pass::new(before, probes, (0..8).map(|bucket| vec![bucket, 100 + bucket]).collect());
            prop_assert_eq!(found(&pass, &text), expected(&pass, &text));
        }

        #[test]
        fn both_ways_of_looking_at_a_block_agree(
            (before, probes) in (before(), probes()),
            text in proptest::collection::vec(any::<u8>(), 57..200),
        ) {
            let pass = Pass::new(before, probes, vec![vec![0]; 8]);
            let (mut one, mut other) = (1, 1);
            let (mut fast, mut plain) = (Vec::new(), Vec::new());
            let keep = |into: &mut Vec<_>, at: usize, it: &Lanes| {
                into.push((at, it.some, it.buckets));
                Ok::<_, Infallible>(())
            };
            pass.blocks(&text, &mut one, &mut |at, it: &Lanes| keep(&mut fast, at, it)).unwrap();
            pass.blocks_plain(&text, &mut other, &mut |at, it: &Lanes| keep(&mut plain, at, it)).unwrap();
            prop_assert_eq!(fast, plain);
            prop_assert_eq!(one, other);
        }
    }
}
