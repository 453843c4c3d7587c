//! HTTP answers of a recording as text: heads as they are, bodies if they are text, chunks put together.
//!
//! Recorded bytes are hostile: lengths are not believed, and no more of an answer is kept than is shown.

use crate::table;

/// What was read since the last request.
#[derive(Default)]
pub(super) struct Transcript {
    /// The answer's beginning.
    pending: Vec<u8>,
    /// Bytes of it that are not kept.
    more: u64,
}

/// Longest answer shown in full.
const SHOWN: usize = 64 << 10;

impl Transcript {
    /// Answers are shown when the next request comes or the session ends: an answer's end is not marked in its bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        let room = SHOWN.saturating_sub(self.pending.len()).min(bytes.len());
        let (kept, rest) = bytes.split_at(room);
        self.pending.extend_from_slice(kept);
        self.more += rest.len() as u64;
        Vec::new()
    }

    pub(super) fn flush(&mut self) -> Vec<String> {
        let (pending, more) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.more));
        if pending.is_empty() {
            return Vec::new();
        }
        let (head, body) = match pending.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(at) => pending.split_at(at + 4),
            None => (pending.as_slice(), [].as_slice()),
        };
        let head = String::from_utf8_lossy(head);
        let chunked = head.lines().any(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
        });
        let joined;
        let body = if chunked {
            joined = joined_chunks(body);
            joined.as_slice()
        } else {
            body
        };
        let mut lines: Vec<String> = head.lines().map(table::plain).collect();
        match readable(body, more > 0) {
            Some(text) => lines.extend(text.lines().map(table::plain)),
            None => lines.push(format!("({} bytes that are no text)", body.len())),
        }
        if more > 0 {
            lines.push(format!("({more} more bytes)"));
        }
        lines
    }
}

/// Text, where a cut may have gone through the last letter.
fn readable(body: &[u8], cut: bool) -> Option<&str> {
    match str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            str::from_utf8(body.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

/// The data of a chunked body, as far as it is one.
fn joined_chunks(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut data) = (body, Vec::new());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let (line, tail) = rest.split_at(end);
        let size = str::from_utf8(line).ok().and_then(|line| line.split(';').next());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let after = tail.get(2..).unwrap_or_default();
        match size {
            Some(0) => return data,
            Some(size) => {
                let (chunk, next) = after.split_at(size.min(after.len()));
                data.extend_from_slice(chunk);
                rest = next.strip_prefix(b"\r\n").unwrap_or(next);
            }
            None => break,
        }
    }
    data.extend_from_slice(rest);
    data
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

    #[test]
    fn chunks_are_put_together_and_what_is_no_chunk_is_shown_as_it_is() {
        let mut transcript = Transcript::default();
        transcript.read(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(transcript.flush().last().map(String::as_str), Some("abcde"));
        transcript.read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc");
        assert_eq!(transcript.flush().last().map(String::as_str), Some("abc"));
        transcript.read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc");
        assert!(transcript.flush().ends_with(&["zz".to_owned(), "abc".to_owned()]));
    }

    #[test]
    fn no_more_is_kept_than_is_shown() {
        let mut transcript = Transcript::default();
        transcript.read(b"HTTP/1.1 200 OK\r\n\r\n");
        for _ in 0..100 {
            transcript.read("é".repeat(SHOWN / 20).as_bytes());
        }
        assert!(transcript.pending.len() <= SHOWN);
        assert!(transcript.flush().last().is_some_and(|line| line.ends_with("more bytes)")));
    }
}
