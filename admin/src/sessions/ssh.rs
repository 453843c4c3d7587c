//! What SSH clients saw of their programs, as text: lines of each stream, put together from however they were sent.
//!
//! Recorded bytes are hostile: no more of a line is kept than is shown, and a terminal's own language is left out, not followed.

use std::collections::BTreeMap;

use crate::table;

/// Longest line that is put together.
const LINE: usize = 8 << 10;

/// Unfinished lines, by lane.
#[derive(Default)]
pub(super) struct Transcript {
    pending: BTreeMap<u32, Vec<u8>>,
}

impl Transcript {
    pub(super) fn read(&mut self, lane: u32, bytes: &[u8]) -> Vec<String> {
        let pending = self.pending.entry(lane).or_default();
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(part);
            if part.ends_with(b"\n") || pending.len() > LINE {
                lines.push(line(lane, pending));
                pending.clear();
            }
        }
        lines
    }

    /// What was not ended yet.
    pub(super) fn flush(&mut self) -> Vec<String> {
        let pending = std::mem::take(&mut self.pending);
        pending.iter().filter(|(_, text)| !text.is_empty()).map(|(lane, text)| line(*lane, text)).collect()
    }
}

/// Several channels' lines may be mixed: each says whose it is, but those of the first's output.
fn line(lane: u32, text: &[u8]) -> String {
    let text = table::plain(&String::from_utf8_lossy(&without_escapes(text)));
    let stream = match lane & 3 {
        0 => "",
        1 => "stderr",
        _ => "other",
    };
    match (lane >> 2, stream) {
        (0, "") => text,
        (0, stream) => format!("{stream}: {text}"),
        (channel, "") => format!("[{channel}] {text}"),
        (channel, stream) => format!("[{channel}] {stream}: {text}"),
    }
}

/// Without control sequences (ECMA-48) and carriage returns.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (0x1b, [b'[', inside @ ..]) => {
                let end = inside.iter().position(|byte| (0x40..=0x7e).contains(byte));
                rest = end.and_then(|end| inside.get(end + 1..)).unwrap_or_default();
            }
            (0x1b, [b']', inside @ ..]) => {
                let end = inside.iter().position(|byte| matches!(byte, 0x07 | 0x1b));
                rest = end.and_then(|end| inside.get(end + 1..)).unwrap_or_default();
            }
            (0x1b, [_, after @ ..]) => rest = after,
            (b'\r' | b'\n', _) => {}
            (byte, _) => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_by_stream_and_channel() {
        let mut transcript = Transcript::default();
        assert_eq!(transcript.read(0, b"one\ntw"), ["one"]);
        assert_eq!(transcript.read(1, b"oops\n"), ["stderr: oops"]);
        assert_eq!(transcript.read(0, b"o\r\n"), ["two"]);
        assert_eq!(transcript.read(4, b"of another\n$ "), ["[1] of another"]);
        assert_eq!(transcript.flush(), ["[1] $ "]);
        assert!(transcript.flush().is_empty());
    }

    #[test]
    fn a_terminals_own_language_is_left_out_and_nothing_is_kept_without_bound() {
        assert_eq!(without_escapes(b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 \x1b(Bend\x1b["), b"red Bend");
        let mut transcript = Transcript::default();
        for _ in 0..100 {
            transcript.read(0, &[b'x'; 1_000]);
        }
        assert!(transcript.pending[&0].len() <= LINE);
    }
}
