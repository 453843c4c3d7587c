//! HTTP answers of a recording as text: heads as they are, bodies if they are text.

use crate::table;

/// What was read since the last request.
#[derive(Default)]
pub(super) struct Transcript {
    pending: Vec<u8>,
}

/// Longest answer shown in full.
const SHOWN: usize = 64 << 10;

impl Transcript {
    /// Answers are shown when the next request comes or the session ends: an answer's end is not marked in its bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.pending.extend_from_slice(bytes);
        Vec::new()
    }

    pub(super) fn flush(&mut self) -> Vec<String> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Vec::new();
        }
        let shown = pending.get(..SHOWN).unwrap_or(&pending);
        let (head, body) = match shown.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => shown.split_at(at + 4),
            None => (shown, [].as_slice()),
        };
        let mut lines: Vec<String> = String::from_utf8_lossy(head).lines().map(table::plain).collect();
        match str::from_utf8(body) {
            Ok(text) => lines.extend(text.lines().map(table::plain)),
            Err(_) => lines.push(format!("({} bytes that are no text)", body.len())),
        }
        if pending.len() > shown.len() {
            lines.push(format!("({} more bytes)", pending.len() - shown.len()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_text_bodies_are_shown_and_other_bodies_are_counted() {
        let mut transcript = Transcript::default();
        assert!(transcript.read(b"HTTP/1.1 200 OK\r\nA: b\r\n").is_empty());
        assert!(transcript.read(b"\r\n{\"id\":1}").is_empty());
        assert_eq!(transcript.flush(), ["HTTP/1.1 200 OK", "A: b", "", "{\"id\":1}"]);
        transcript.read(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe");
        assert_eq!(transcript.flush(), ["HTTP/1.1 200 OK", "", "(2 bytes that are no text)"]);
        assert!(transcript.flush().is_empty());
    }
}
