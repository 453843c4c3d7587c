//! RFC 4251's data types: reading with every length checked against what is there, and writing.
//!
//! Nothing is copied and nothing allocated by reading, so a count can promise nothing that is not in the packet.

use bytes::BufMut;

use crate::Error;

/// Reads one message's fields in order.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` names the message in errors.
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) const fn malformed(&self) -> Error {
        Error::Malformed(self.what)
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(Error::Malformed(self.what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::Malformed(self.what))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Any byte but 0 is true, as RFC 4251 has it.
    pub(crate) fn bool(&mut self) -> Result<bool, Error> {
        self.u8().map(|byte| byte != 0)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.u32()?).map_err(|_| self.malformed())?;
        self.take(len)
    }

    /// A string that is UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.string()?).map_err(|_| self.malformed())
    }

    /// A name-list: printable ASCII, no empty name.
    pub(crate) fn names(&mut self) -> Result<Names<'a>, Error> {
        let list = self.text()?;
        let sound = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !list.is_empty() && !list.split(',').all(sound) {
            return Err(self.malformed());
        }
        Ok(Names(list))
    }

    /// A multiple-precision integer that is positive and in its one shortest form, without the sign byte.
    pub(crate) fn positive(&mut self) -> Result<&'a [u8], Error> {
        match self.string()? {
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Ok(rest),
            bytes @ [first, ..] if (1..0x80).contains(first) => Ok(bytes),
            _ => Err(self.malformed()),
        }
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}

/// A name-list where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names<'a>(pub &'a str);

impl<'a> Names<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    pub(crate) fn contains(self, name: &str) -> bool {
        self.iter().any(|it| it == name)
    }
}

/// Lengths of what we write are bounded far below 4 GiB by the limits on what we read.
pub(crate) fn put_string(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

pub(crate) fn put_names<'n>(out: &mut Vec<u8>, names: impl Iterator<Item = &'n str>) {
    let list = names.collect::<Vec<_>>().join(",");
    put_string(out, list.as_bytes());
}

/// An unsigned big-endian number as mpint: leading zeros off, a sign byte where the top bit is set.
pub(crate) fn put_positive(out: &mut impl BufMut, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..).unwrap_or_default();
    let sign = digits.first().is_some_and(|first| *first >= 0x80);
    out.put_u32(u32::try_from(digits.len() + usize::from(sign)).unwrap_or(u32::MAX));
    if sign {
        out.put_u8(0);
    }
    out.put_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_positive(&mut out, number);
        out
    }

    #[test]
    fn numbers_are_written_as_the_rfc_shows() {
        // RFC 4251, section 5: 0, 9a378f9b2e332a7 and 80.
        assert_eq!(written(&[0]), [0, 0, 0, 0]);
        let number = hex::decode("09a378f9b2e332a7").unwrap();
        assert_eq!(written(&number), hex::decode("0000000809a378f9b2e332a7").unwrap());
        assert_eq!(written(&[0, 0x80]), [0, 0, 0, 2, 0, 0x80]);
    }

    #[test]
    fn a_number_has_one_form() {
        for (bytes, sound) in [
            (&[0, 0, 0, 1, 0x7f][..], true),
            (&[0, 0, 0, 2, 0, 0x80], true),
            (&[0, 0, 0, 2, 0, 0x7f], false),
            (&[0, 0, 0, 1, 0x80], false),
            (&[0, 0, 0, 0], false),
            (&[0, 0, 0, 1, 0], false),
        ] {
            assert_eq!(Reader::new("number", bytes).positive().is_ok(), sound, "{bytes:?}");
        }
    }

    #[test]
    fn lengths_beyond_the_packet_and_empty_names_are_refused() {
        assert!(Reader::new("x", &[0xff, 0xff, 0xff, 0xff, 1]).string().is_err());
        for list in ["a,,b", ",a", "a,", "a b", "\u{e4}"] {
            let mut bytes = Vec::new();
            put_string(&mut bytes, list.as_bytes());
            assert!(Reader::new("x", &bytes).names().is_err(), "{list}");
        }
        let mut bytes = Vec::new();
        put_string(&mut bytes, b"");
        assert_eq!(Reader::new("x", &bytes).names().unwrap().iter().count(), 0);
    }
}
