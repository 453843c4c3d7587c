//! The identification lines with which both sides begin (RFC 4253, 4.2).
//!
//! A client's first line must be its identification; a server may say other things before, to a bound.

use crate::Error;

/// What the gateway calls itself, without the line's end.
pub(crate) const OURS: &str = "SSH-2.0-Weir";
/// A line with its end.
const LINE_BYTES: usize = 255;
/// Everything that a server says before and in its identification.
const PREFACE_BYTES: usize = 8192;

/// Finds a peer's identification at the head of `input`: its line without the end, and how many bytes it took with all before
/// it. `None`: more is needed.
///
/// # Errors
/// The peer speaks no SSH 2, or talks too long.
pub(crate) fn read(input: &[u8], from_server: bool) -> Result<Option<(&[u8], usize)>, Error> {
    let mut start = 0;
    loop {
        let rest = input.get(start..).unwrap_or_default();
        let Some(len) = rest.iter().position(|byte| *byte == b'\n') else {
            let open =
                if from_server { rest.len() + start > PREFACE_BYTES } else { rest.len() >= LINE_BYTES };
            // Whoever does not even begin like SSH is told at once: a browser, a TLS client.
            let foreign = !from_server && !begins_alike(rest);
            return match (open, foreign) {
                (_, true) => Err(Error::Protocol("the first line is no SSH identification")),
                (true, _) => Err(Error::Limit("an identification line")),
                (false, false) => Ok(None),
            };
        };
        let line = rest.get(..len).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        start += len + 1;
        if line.starts_with(b"SSH-") {
            return checked(line, len + 1).map(|line| Some((line, start)));
        }
        if !from_server {
            return Err(Error::Protocol("the first line is no SSH identification"));
        }
        if start > PREFACE_BYTES {
            return Err(Error::Limit("lines before the identification"));
        }
    }
}

fn begins_alike(start: &[u8]) -> bool {
    start.iter().zip(b"SSH-").all(|(a, b)| a == b)
}

fn checked(line: &[u8], len: usize) -> Result<&[u8], Error> {
    if len > LINE_BYTES {
        return Err(Error::Limit("an identification line"));
    }
    let version = line.strip_prefix(b"SSH-2.0-").or_else(|| line.strip_prefix(b"SSH-1.99-"));
    let software = version.ok_or(Error::Protocol("the peer does not speak SSH 2"))?;
    let printable = !software.is_empty() && software.iter().all(|byte| (b' '..=b'~').contains(byte));
    if printable { Ok(line) } else { Err(Error::Malformed("identification")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifications_are_read_and_everything_else_refused() {
        assert_eq!(read(b"SSH-2.0-x y\r\nrest", false), Ok(Some((&b"SSH-2.0-x y"[..], 13))));
        assert_eq!(read(b"SSH-1.99-x\n", false), Ok(Some((&b"SSH-1.99-x"[..], 11))));
        assert_eq!(read(b"hello\r\nSSH-2.0-s\r\n", true), Ok(Some((&b"SSH-2.0-s"[..], 18))));
        assert_eq!(read(b"SSH-2.0", false), Ok(None));
        for wrong in [
            &b"SSH-1.5-x\r\n"[..],
            b"SSH-2.0-\r\n",
            b"SSH-2.0-a\0b\r\n",
            b"GET / HTTP",
            b"hello\nSSH-2.0-x\n",
        ] {
            assert!(read(wrong, false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nobody_talks_for_ever_before_the_identification() {
        let long = [b"SSH-2.0-".as_slice(), &[b'a'; 300]].concat();
        assert!(read(&long, false).is_err());
        assert!(read(&b"line\n".repeat(2000), true).is_err());
        assert!(read(&vec![b'a'; 9000], true).is_err());
    }
}
