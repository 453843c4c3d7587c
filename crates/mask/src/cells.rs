//! Many cells in one buffer, so that one scanner call serves a whole batch of rows.
//!
//! Cells are kept apart by NUL, which no word contains: `\b` holds at a cell's edge as it does at a text's. Cells that stand
//! one after the other in the same bytes are copied with what lies between them, which is then overwritten.

use std::ops::Range;

/// A reusable batch of cells.
#[derive(Debug, Default)]
pub struct Cells {
    text: Vec<u8>,
    /// In order; at least one NUL lies between any two.
    places: Vec<Place>,
}

/// Where a cell lies in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
}

impl Cells {
    /// Appends a cell and returns its index.
    pub fn push(&mut self, cell: &[u8]) -> usize {
        if !self.places.is_empty() {
            self.text.push(0);
        }
        let start = self.text.len();
        self.text.extend_from_slice(cell);
        self.places.push(Place { start, end: self.text.len() });
        self.places.len() - 1
    }

    /// Begins anew, with cells most of which stand in `source`.
    pub fn gather<'a>(&'a mut self, source: &'a [u8]) -> Gather<'a> {
        self.clear();
        Gather { cells: self, source, run: 0..0, first: 0 }
    }

    /// Forgets the cells and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.places.clear();
    }

    pub fn get(&self, cell: usize) -> Option<&[u8]> {
        let place = self.places.get(cell)?;
        self.text.get(place.start..place.end)
    }

    pub const fn len(&self) -> usize {
        self.places.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes held, separators included: what a scan will cost.
    pub const fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where a cell begins in the text; beyond the last one, the text's end.
    pub(crate) fn start(&self, cell: usize) -> usize {
        self.places.get(cell).map_or(self.text.len(), |place| place.start)
    }

    /// The cell that a match ending at `end` ends in, which is `from` or a later one: the first that does not end before
    /// it. Its cost grows with the logarithm of the distance.
    pub(crate) fn containing(&self, end: usize, from: usize) -> usize {
        let is_before = |cell: usize| self.places.get(cell).is_some_and(|place| place.end < end);
        let (mut low, mut stride) = (from, 1);
        while is_before(low + stride - 1) {
            low += stride;
            stride *= 2;
        }
        let here = self.places.get(low..).unwrap_or_default();
        let here = here.get(..stride - 1).unwrap_or(here);
        low + here.partition_point(|place| place.end < end)
    }
}

/// Fills [`Cells`]. Those that stand in its source, in order, are copied many at a time.
#[derive(Debug)]
pub struct Gather<'a> {
    cells: &'a mut Cells,
    source: &'a [u8],
    /// What of the source is still to be copied: from its first cell to the end of its last.
    run: Range<usize>,
    /// The cell that the run begins with; there is no run where no such cell is there.
    first: usize,
}

impl Gather<'_> {
    /// More than this between two cells is not copied with them.
    const MAX_GAP_BYTES: usize = 64;

    /// Appends a cell.
    #[inline]
    pub fn push(&mut self, cell: &[u8]) {
        match self.place(cell) {
            Some(at) if self.goes_on(&at) => self.extend(&at),
            Some(at) => self.begin(&at),
            None => self.push_other(cell),
        }
    }

    #[inline]
    fn goes_on(&self, at: &Range<usize>) -> bool {
        let gap = at.start.checked_sub(self.run.end);
        self.first < self.cells.len() && gap.is_some_and(|gap| (1..=Self::MAX_GAP_BYTES).contains(&gap))
    }

    #[inline]
    fn extend(&mut self, at: &Range<usize>) {
        self.run.end = at.end;
        let offset = self.cells.text.len();
        let place =
            Place { start: offset + at.start - self.run.start, end: offset + at.end - self.run.start };
        self.cells.places.push(place);
    }

    /// A cell that the run does not go on with.
    #[inline(never)]
    fn begin(&mut self, at: &Range<usize>) {
        self.settle();
        if !self.cells.is_empty() {
            self.cells.text.push(0);
        }
        self.run.start = at.start;
        self.extend(at);
    }

    /// A cell that does not stand in the source.
    #[inline(never)]
    fn push_other(&mut self, cell: &[u8]) {
        self.settle();
        self.cells.push(cell);
        self.first = self.cells.len();
    }

    #[inline]
    pub const fn len(&self) -> usize {
        self.cells.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// As [`Cells::bytes`].
    pub const fn bytes(&self) -> usize {
        self.cells.bytes() + (self.run.end - self.run.start)
    }

    /// Where a cell stands in the source, if it does: by its address, so that it is the very same bytes.
    #[inline]
    fn place(&self, cell: &[u8]) -> Option<Range<usize>> {
        let start = cell.as_ptr().addr().checked_sub(self.source.as_ptr().addr())?;
        let end = start.checked_add(cell.len())?;
        (end <= self.source.len()).then_some(start..end)
    }

    /// Copies the run, and overwrites what lies between its cells.
    fn settle(&mut self) {
        let Cells { text, places } = &mut *self.cells;
        text.extend_from_slice(self.source.get(self.run.clone()).unwrap_or_default());
        let cells = places.get(self.first..).unwrap_or_default();
        for (before, after) in cells.iter().zip(cells.iter().skip(1)) {
            let Some(gap) = text.get_mut(before.end..after.start) else { continue };
            // As wide as a length, and as a delimiter: one store each, where a call would cost more than the rest.
            match gap {
                [gap] => *gap = 0,
                [a, b, c, d] => (*a, *b, *c, *d) = (0, 0, 0, 0),
                gap => gap.fill(0),
            }
        }
        self.first = places.len();
        self.run = 0..0;
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::Cells;

    #[test]
    fn cells_are_given_back_as_they_were_pushed() {
        let mut cells = Cells::default();
        for cell in [&b"ab"[..], b"", b"c\0d"] {
            cells.push(cell);
        }
        assert_eq!(
            (cells.get(0), cells.get(1), cells.get(2)),
            (Some(&b"ab"[..]), Some(&b""[..]), Some(&b"c\0d"[..]))
        );
        assert_eq!((cells.get(3), cells.len(), cells.bytes()), (None, 3, 7));
        cells.clear();
        assert!(cells.is_empty());
    }

    #[test]
    fn an_end_is_found_in_its_cell_from_any_earlier_one() {
        let mut cells = Cells::default();
        let lengths = [2, 0, 3, 0, 0, 1, 7, 2, 2, 0, 40, 1, 1, 1, 1, 1, 9];
        lengths.iter().for_each(|length| _ = cells.push(&vec![b'x'; *length]));
        for end in 0..=cells.bytes() + 3 {
            let expected = cells.places.iter().take_while(|place| place.end < end).count();
            for from in 0..=expected {
                assert_eq!(cells.containing(end, from), expected, "{end} from {from}");
            }
        }
    }

    /// Each cell as a range of the source, or as bytes from elsewhere; gathered at once and one by one.
    #[test]
    fn gathered_cells_are_those_that_are_pushed_one_by_one() {
        let source: Vec<u8> = (0..=255).collect();
        let elsewhere = source.clone();
        let copies = [&elsewhere[7..9], b"", &elsewhere[3..200]];
        let ranges = [0..3, 4..4, 5..9, 9..12, 12..12, 13..14, 2..5, 100..180, 181..182, 250..256, 256..256];
        let orders = (0..4000_usize).map(|seed| {
            let mut dice = seed;
            std::iter::repeat_with(move || {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                dice >> 33
            })
            .take(seed % 20)
            .collect::<Vec<_>>()
        });
        let mut gathered = Cells::default();
        for order in orders {
            let mut expected = Cells::default();
            let mut gather = gathered.gather(&source);
            for pick in &order {
                let at = pick % (ranges.len() + copies.len());
                let cell =
                    ranges.get(at).map_or_else(|| copies[at - ranges.len()], |range| &source[range.clone()]);
                expected.push(cell);
                gather.push(cell);
            }
            let bytes = gather.bytes();
            drop(gather);
            assert_eq!((gathered.len(), gathered.bytes()), (expected.len(), bytes), "{order:?}");
            for cell in 0..expected.len() {
                assert_eq!(gathered.get(cell), expected.get(cell), "{order:?}");
                assert!(cell == 0 || gathered.places[cell - 1].end < gathered.places[cell].start);
            }
            let inside = |at| gathered.places.iter().any(|place| (place.start..place.end).contains(&at));
            assert!((0..gathered.bytes()).all(|at| inside(at) || gathered.text[at] == 0), "{order:?}");
        }
    }
}
