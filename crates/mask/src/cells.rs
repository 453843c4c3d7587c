//! Many cells in one buffer, so that one scanner call serves a whole batch of rows.
//!
//! Cells are kept apart by NUL, which no word contains: `\b` holds at a cell's edge as it does at a text's.

/// A reusable batch of cells.
#[derive(Debug, Default)]
pub struct Cells {
    text: Vec<u8>,
    /// Where each cell ends in `text`; the next begins one byte later.
    ends: Vec<usize>,
}

impl Cells {
    /// Appends a cell and returns its index.
    pub fn push(&mut self, cell: &[u8]) -> usize {
        if !self.ends.is_empty() {
            self.text.push(0);
        }
        self.text.extend_from_slice(cell);
        self.ends.push(self.text.len());
        self.ends.len() - 1
    }

    /// Forgets the cells and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    pub fn get(&self, cell: usize) -> Option<&[u8]> {
        let end = *self.ends.get(cell)?;
        self.text.get(self.start(cell)..end)
    }

    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held, separators included: what a scan will cost.
    pub const fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn start(&self, cell: usize) -> usize {
        cell.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| end + 1)
    }

    /// The cell that a match ending at `end` ends in, which is `from` or a later one. Its cost grows with the
    /// logarithm of the distance.
    pub(crate) fn containing(&self, end: usize, from: usize) -> usize {
        let is_before = |cell: usize| self.ends.get(cell).is_some_and(|cell_end| *cell_end < end);
        let (mut low, mut stride) = (from, 1);
        while is_before(low + stride - 1) {
            low += stride;
            stride *= 2;
        }
        let here = self.ends.get(low..).unwrap_or_default();
        let here = here.get(..stride - 1).unwrap_or(here);
        low + here.partition_point(|cell_end| *cell_end < end)
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
            let expected = cells.ends.iter().take_while(|cell_end| **cell_end < end).count();
            for from in 0..=expected {
                assert_eq!(cells.containing(end, from), expected, "{end} from {from}");
            }
        }
    }
}
