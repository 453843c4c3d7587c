//! One layer of what a window of text stands for, its escapes undone, with the way back to the text below it.
//!
//! It ends where the text below may go on with an escape, so that more text never changes what is here.

use crate::escapes::{LONGEST, escape};

/// What the text below stands for.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) text: Vec<u8>,
    /// Where escapes were, in order.
    joints: Vec<Joint>,
    /// Matches that end here or earlier are known.
    pub(crate) judged: usize,
}

/// One escape: where it stands below, and what it stands for here.
#[derive(Clone, Copy, Debug, Default)]
struct Joint {
    at: usize,
    len: usize,
    below: usize,
    below_len: usize,
}

impl Layer {
    pub(crate) fn judged_until(judged: usize) -> Self {
        Self { judged, ..Self::default() }
    }

    /// Reads the text below anew. `last`: nothing follows it.
    pub(crate) fn read(&mut self, below: &[u8], last: bool) {
        self.text.clear();
        self.joints.clear();
        let mut done = 0;
        for start in memchr::memchr_iter(b'\\', below) {
            // A backslash inside the escape before it.
            if start < done {
                continue;
            }
            let rest = below.get(start..).unwrap_or_default();
            self.text.extend_from_slice(below.get(done..start).unwrap_or_default());
            done = start;
            if !last && rest.len() < LONGEST && matches!(rest.get(1), None | Some(b'u')) {
                return;
            }
            let (below_len, ch) = escape(rest);
            if let Some(ch) = ch {
                let mut utf8 = [0; 4];
                let here = ch.encode_utf8(&mut utf8).as_bytes();
                self.joints.push(Joint { at: self.text.len(), len: here.len(), below: start, below_len });
                self.text.extend_from_slice(here);
                done = start + below_len;
            }
        }
        self.text.extend_from_slice(below.get(done..).unwrap_or_default());
    }

    /// Whether anything stands for something else.
    pub(crate) const fn is_plain(&self) -> bool {
        self.joints.is_empty()
    }

    /// Where the character that holds `at` begins below.
    pub(crate) fn start_below(&self, at: usize) -> usize {
        let Some(joint) = self.joint(self.joints.partition_point(|joint| joint.at <= at)) else { return at };
        match at.checked_sub(joint.at + joint.len) {
            Some(beyond) => joint.below + joint.below_len + beyond,
            None => joint.below,
        }
    }

    /// Where the character before `end` ends below.
    pub(crate) fn end_below(&self, end: usize) -> usize {
        let Some(joint) = self.joint(self.joints.partition_point(|joint| joint.at < end)) else { return end };
        joint.below + joint.below_len + end.saturating_sub(joint.at + joint.len)
    }

    /// What of this layer is whole before `below`.
    pub(crate) fn above(&self, below: usize) -> usize {
        let Some(joint) = self.joint(self.joints.partition_point(|joint| joint.below < below)) else {
            return below.min(self.text.len());
        };
        match below.checked_sub(joint.below + joint.below_len) {
            Some(beyond) => (joint.at + joint.len + beyond).min(self.text.len()),
            None => joint.at,
        }
    }

    /// The last of the first `count`.
    fn joint(&self, count: usize) -> Option<&Joint> {
        self.joints.get(count.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(below: &str, last: bool) -> Layer {
        let mut layer = Layer::default();
        layer.read(below.as_bytes(), last);
        layer
    }

    #[test]
    fn what_is_here_does_not_change_when_more_comes() {
        let whole = r#"a\u0031b\\u0032\ud83d\ude00\x\"\ud83dz\u00"#;
        let all = read(whole, true);
        assert_eq!(String::from_utf8_lossy(&all.text), "a1b\\u0032\u{1f600}\\x\"\u{fffd}z\\u00");
        for end in 0..whole.len() {
            let part = read(&whole[..end], false);
            assert!(all.text.starts_with(&part.text), "{end}");
            let settled = read(&whole[..end.saturating_sub(LONGEST)], false).text;
            assert!(part.text.starts_with(&settled), "no more is held back than an escape is long: {end}");
        }
    }

    #[test]
    fn places_are_found_again_both_ways() {
        //           0123456789012345
        let layer = read(r"a\u0031\n2\\", true);
        assert_eq!(layer.text, b"a1\n2\\");
        let starts: Vec<_> = (0..=5).map(|at| layer.start_below(at)).collect();
        assert_eq!(starts, [0, 1, 7, 9, 10, 12]);
        let ends: Vec<_> = (0..=5).map(|end| layer.end_below(end)).collect();
        assert_eq!(ends, [0, 1, 7, 9, 10, 12]);
        let above: Vec<_> = [0, 1, 3, 7, 8, 9, 10, 11, 12].iter().map(|at| layer.above(*at)).collect();
        assert_eq!(above, [0, 1, 1, 2, 2, 3, 4, 4, 5]);
    }
}
