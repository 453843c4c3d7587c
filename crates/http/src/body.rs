//! Reads a body off a connection: by length, in chunks, or until the connection ends.
//!
//! Chunk extensions and trailers are read over and dropped, since bodies are framed anew.

use crate::head::Framing;

/// Bytes of one chunk-size line or of all trailers.
const MAX_CHUNK_LINE_BYTES: usize = 256;
const MAX_TRAILER_BYTES: usize = 8 << 10;

#[derive(Debug)]
pub(crate) enum BodyReader {
    Chunked(Chunks),
    Length(u64),
    UntilClose,
}

impl BodyReader {
    pub(crate) fn of_request(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::Length(length) => Self::Length(length),
            Framing::Undeclared => Self::Length(0),
        }
    }

    pub(crate) fn of_response(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked(Chunks::default()),
            Framing::Length(length) => Self::Length(length),
            Framing::Undeclared => Self::UntilClose,
        }
    }

    /// Takes bytes off the front of `input`: how many, and the body bytes among them. Takes all of it or reaches a
    /// piece of body or the end; call again while it takes something.
    pub(crate) fn take<'i>(&mut self, input: &'i [u8]) -> Result<(usize, &'i [u8]), &'static str> {
        match self {
            Self::Chunked(chunks) => chunks.take(input),
            Self::Length(left) => {
                let taken = prefix(input, *left);
                *left -= taken.len() as u64;
                Ok((taken.len(), taken))
            }
            Self::UntilClose => Ok((input.len(), input)),
        }
    }

    /// Whether no more than `bytes` are left, as far as is known.
    pub(crate) const fn is_within(&self, bytes: u64) -> bool {
        match self {
            Self::Chunked(_) => true,
            Self::Length(left) => *left <= bytes,
            Self::UntilClose => false,
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        match self {
            Self::Chunked(chunks) => matches!(chunks.state, ChunkState::Done),
            Self::Length(left) => *left == 0,
            Self::UntilClose => false,
        }
    }
}

/// At most `len` bytes of `input`.
fn prefix(input: &[u8], len: u64) -> &[u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(input.len());
    input.get(..len).unwrap_or_default()
}

/// The chunked coding (RFC 9112, 7.1), one byte of framing at a time.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: ChunkState,
    size: u64,
    /// Bytes of the current size line, or of the trailers.
    line: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunks {
    fn take<'i>(&mut self, input: &'i [u8]) -> Result<(usize, &'i [u8]), &'static str> {
        for (at, byte) in input.iter().enumerate() {
            if self.state == ChunkState::Done {
                return Ok((at, &[]));
            }
            if self.state == ChunkState::Data {
                let data = prefix(input.get(at..).unwrap_or_default(), self.size);
                self.size -= data.len() as u64;
                if self.size == 0 {
                    self.state = ChunkState::DataCr;
                }
                return Ok((at + data.len(), data));
            }
            self.framing(*byte)?;
        }
        Ok((input.len(), &[]))
    }

    fn framing(&mut self, byte: u8) -> Result<(), &'static str> {
        self.line += 1;
        self.state = match (self.state, byte) {
            (ChunkState::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // Fifteen digits are more than any body and less than any overflow.
                if self.line > 15 {
                    return Err("a chunk size is out of range");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size * 16 + u64::from(digit);
                ChunkState::Size
            }
            (ChunkState::Size, b';') if self.line > 1 => ChunkState::Extension,
            (ChunkState::Size, b'\r') if self.line > 1 => ChunkState::SizeLf,
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, b'\t' | b' '..=b'~') if self.line < MAX_CHUNK_LINE_BYTES => {
                ChunkState::Extension
            }
            (ChunkState::SizeLf, b'\n') => {
                self.line = 0;
                if self.size == 0 { ChunkState::TrailerStart } else { ChunkState::Data }
            }
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => {
                self.line = 0;
                ChunkState::Size
            }
            (ChunkState::TrailerStart, b'\r') => ChunkState::EndLf,
            (ChunkState::Trailer, b'\r') => ChunkState::TrailerLf,
            (ChunkState::TrailerStart | ChunkState::Trailer, b'\t' | b' '..=b'~' | 0x80..)
                if self.line < MAX_TRAILER_BYTES =>
            {
                ChunkState::Trailer
            }
            (ChunkState::TrailerLf, b'\n') => ChunkState::TrailerStart,
            (ChunkState::EndLf, b'\n') => ChunkState::Done,
            _ => return Err("the chunked body is malformed"),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], cut: usize) -> Result<(Vec<u8>, usize, bool), &'static str> {
        let mut reader = BodyReader::of_request(Framing::Chunked);
        let (mut body, mut taken) = (Vec::new(), 0);
        for piece in text.chunks(cut) {
            let mut rest = piece;
            while !rest.is_empty() && !reader.is_done() {
                let (len, data) = reader.take(rest)?;
                body.extend_from_slice(data);
                rest = &rest[len..];
                taken += len;
            }
        }
        Ok((body, taken, reader.is_done()))
    }

    #[test]
    fn chunks_are_read_however_they_arrive() {
        let text = b"4;x=\"y\"\r\nWiki\r\n00a\r\n0123456789\r\n0\r\nExpires: never\r\nA: b\r\n\r\nGET ";
        for cut in 1..text.len() {
            assert_eq!(read(text, cut), Ok((b"Wiki0123456789".to_vec(), text.len() - 4, true)), "cut {cut}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"0x4\r\n",
            b" 4\r\n",
            b"4 \r\n",
            b"4\nWiki",
            b"4\r\nWikiX",
            b"4\r\nWiki\n",
            b"4\r\nWiki\rX",
            b"4;a\nb\r\n",
            b"4;\0\r\n",
            b"1000000000000000\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\rX",
            b"+4\r\n",
        ] {
            assert!(read(text, 1).is_err(), "{:?}", String::from_utf8_lossy(text));
            assert!(read(text, 100).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        assert!(read(&[b"4;".as_slice(), &[b'a'; 300], b"\r\n"].concat(), 7).is_err());
        assert!(read(&[b"0\r\n".as_slice(), &b"a: b\r\n".repeat(2_000)].concat(), 7).is_err());
    }
}
