//! Undoes the content codings of answers that must be looked through, piece by piece and with bounds on what comes out:
//! a body that grows beyond them is refused, not waited for.

use std::io::Write;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::raw::{DParameter, InBuffer, Operation as _, OutBuffer};

/// Bytes that one piece comes to at the most; the rest waits.
const PIECE_BYTES: usize = 32 << 10;
/// A body may grow to this many bytes for each that was sent, once it is longer than `FREE_BYTES`.
const MAX_RATIO: u64 = 200;
const FREE_BYTES: u64 = 1 << 20;
/// Bytes of a body after decoding.
const MAX_BYTES: u64 = 4 << 30;
/// 8 MiB: what a decoder may look back.
const ZSTD_WINDOW_LOG: u32 = 23;

const BROKEN: &str = "its content coding is broken";

/// One body's decoder.
pub(crate) struct Decoder {
    coding: Coding,
    /// Sent and not decoded yet.
    pending: Vec<u8>,
    done: usize,
    /// A whole piece came out last, so that more may be ready.
    more: bool,
    taken: u64,
    given: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("taken", &self.taken)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

enum Coding {
    Brotli {
        state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
        ended: bool,
    },
    /// Which of the two forms it has is known from its first byte.
    Deflate(Option<Deflate>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: Box<zstd::stream::raw::Decoder<'static>>,
        ended: bool,
    },
}

enum Deflate {
    Raw(Box<DeflateDecoder<Vec<u8>>>),
    Zlib(Box<ZlibDecoder<Vec<u8>>>),
}

impl Decoder {
    /// `None`: a coding that is not known here, or several.
    pub(crate) fn of(coding: &[u8]) -> Option<Self> {
        let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
        let coding = if is("gzip") || is("x-gzip") {
            Coding::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
        } else if is("deflate") {
            Coding::Deflate(None)
        } else if is("br") {
            let [a, b, c] = [(); 3].map(|()| StandardAlloc::default());
            Coding::Brotli { state: Box::new(BrotliState::new(a, b, c)), ended: false }
        } else if is("zstd") {
            let mut decoder = zstd::stream::raw::Decoder::new().ok()?;
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
            Coding::Zstd { decoder: Box::new(decoder), ended: false }
        } else {
            return None;
        };
        Some(Self { coding, pending: Vec::new(), done: 0, more: false, taken: 0, given: 0 })
    }

    /// Takes bytes as they were sent; they are decoded by [`Self::next`].
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.done);
        self.done = 0;
        self.pending.extend_from_slice(bytes);
        self.taken += bytes.len() as u64;
    }

    /// Whether nothing is left to decode of what was taken.
    pub(crate) const fn is_idle(&self) -> bool {
        self.done == self.pending.len() && !self.more
    }

    /// Appends the next piece.
    ///
    /// # Errors
    /// The upstream's: the coding is broken, or the body grows beyond all bounds.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if self.is_idle() {
            return Ok(());
        }
        let before = out.len();
        let input = self.pending.get(self.done..).unwrap_or_default();
        let taken = self.coding.decode(input, out)?;
        let given = out.len() - before;
        if taken == 0 && given == 0 && !input.is_empty() {
            return Err(BROKEN);
        }
        self.done += taken;
        self.more = given >= PIECE_BYTES;
        self.given += given as u64;
        if self.given > MAX_BYTES || self.given > FREE_BYTES.max(self.taken.saturating_mul(MAX_RATIO)) {
            return Err("it grows beyond all bounds when decoded");
        }
        Ok(())
    }

    /// The body has ended: appends what is left.
    ///
    /// # Errors
    /// The upstream's: it ended in the middle.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        // Nothing at all is how some say that there is nothing.
        if self.taken == 0 { Ok(()) } else { self.coding.finish(out) }
    }
}

impl Coding {
    /// Appends at most a piece or two; the answer is how much of `input` is done with.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        match self {
            Self::Gzip(decoder) => {
                let taken = written(&mut **decoder, input)?;
                out.append(decoder.get_mut());
                Ok(taken)
            }
            Self::Deflate(form) => {
                let zlib = input.first().is_some_and(|byte| byte & 0x0f == 8);
                form.get_or_insert_with(|| Deflate::new(zlib)).decode(input, out)
            }
            Self::Brotli { state, ended } => brotli(state, ended, input, out),
            Self::Zstd { decoder, ended } => {
                let mut piece = [0; PIECE_BYTES];
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(&mut piece[..]);
                let left = decoder.run(&mut from, &mut to).map_err(|_| BROKEN)?;
                *ended = left == 0;
                let taken = from.pos();
                out.extend_from_slice(to.as_slice());
                Ok(taken)
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match self {
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|_| BROKEN)?;
                out.append(decoder.get_mut());
            }
            Self::Deflate(Some(Deflate::Raw(decoder))) => {
                decoder.try_finish().map_err(|_| BROKEN)?;
                out.append(decoder.get_mut());
            }
            Self::Deflate(Some(Deflate::Zlib(decoder))) => {
                decoder.try_finish().map_err(|_| BROKEN)?;
                out.append(decoder.get_mut());
            }
            Self::Brotli { ended: true, .. } | Self::Zstd { ended: true, .. } => {}
            Self::Deflate(None) | Self::Brotli { .. } | Self::Zstd { .. } => return Err(BROKEN),
        }
        Ok(())
    }
}

impl Deflate {
    fn new(zlib: bool) -> Self {
        if zlib {
            Self::Zlib(Box::new(ZlibDecoder::new(Vec::new())))
        } else {
            Self::Raw(Box::new(DeflateDecoder::new(Vec::new())))
        }
    }

    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let taken = match self {
            Self::Raw(decoder) => {
                let taken = written(&mut **decoder, input)?;
                out.append(decoder.get_mut());
                taken
            }
            Self::Zlib(decoder) => {
                let taken = written(&mut **decoder, input)?;
                out.append(decoder.get_mut());
                taken
            }
        };
        Ok(taken)
    }
}

/// Writes some of it; where that is all, what it comes to is not kept back.
fn written(decoder: &mut impl Write, input: &[u8]) -> Result<usize, &'static str> {
    let taken = decoder.write(input).map_err(|_| BROKEN)?;
    if taken == input.len() {
        decoder.flush().map_err(|_| BROKEN)?;
    }
    Ok(taken)
}

fn brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: &mut bool,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, &'static str> {
    if *ended {
        return if input.is_empty() { Ok(0) } else { Err(BROKEN) };
    }
    let mut piece = [0; PIECE_BYTES];
    let (mut left, mut taken, mut room, mut given, mut total) = (input.len(), 0, piece.len(), 0, 0);
    let result = BrotliDecompressStream(
        &mut left, &mut taken, input, &mut room, &mut given, &mut piece, &mut total, state,
    );
    out.extend_from_slice(piece.get(..given).unwrap_or_default());
    match result {
        BrotliResult::ResultSuccess => *ended = true,
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
        BrotliResult::ResultFailure => return Err(BROKEN),
    }
    Ok(taken)
}
