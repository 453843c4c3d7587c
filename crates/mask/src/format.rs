//! Format-preserving replacement: NIST SP 800-38G's FF1 over a value's digits and over its letters, each on their own.
//! Length, separators, which places hold digits, and the case of letters stay. Deterministic, so that joins still work. It
//! keeps no check digit valid, and nothing can undo it here: there is no decryption.

use aes::Aes256;
use bytes::BytesMut;
use fpe::ff1::{FF1, FlexibleNumeralString};

use crate::Replacement;

/// The recommendation's least domain is a million: fewer characters could be found by trying.
const LEAST_DIGITS: usize = 6;
const LEAST_LETTERS: usize = 5;

/// The two ciphers under one key. Their key schedules wipe themselves.
pub(crate) struct Formats {
    digits: FF1<Aes256>,
    letters: FF1<Aes256>,
}

impl Formats {
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        Some(Self { digits: FF1::new(key, 10).ok()?, letters: FF1::new(key, 26).ok()? })
    }

    /// Appends what becomes of `value`. Characters too few of their kind to be enciphered become `0` or `X`; a value with
    /// no kind that can be is NULL, and so is one that is not ASCII.
    pub(crate) fn write(&self, value: &[u8], out: &mut BytesMut) -> Replacement {
        let digits = numerals(value, digit);
        let letters = numerals(value, letter);
        if !value.is_ascii() || (digits.len() < LEAST_DIGITS && letters.len() < LEAST_LETTERS) {
            return Replacement::Null;
        }
        let enciphered = (
            encipher(&self.digits, digits, LEAST_DIGITS, 0),
            encipher(&self.letters, letters, LEAST_LETTERS, 23),
        );
        let (Some(digits), Some(letters)) = enciphered else { return Replacement::Null };
        let (mut digits, mut letters) = (digits.into_iter(), letters.into_iter());
        for byte in value {
            let numeral =
                |numeral: Option<u16>| numeral.and_then(|it| u8::try_from(it).ok()).unwrap_or_default();
            out.extend_from_slice(&[match byte {
                b'0'..=b'9' => b'0' + numeral(digits.next()),
                b'a'..=b'z' => b'a' + numeral(letters.next()),
                b'A'..=b'Z' => b'A' + numeral(letters.next()),
                other => *other,
            }]);
        }
        Replacement::Written
    }
}

fn digit(byte: u8) -> Option<u16> {
    byte.is_ascii_digit().then(|| u16::from(byte - b'0'))
}

fn letter(byte: u8) -> Option<u16> {
    byte.is_ascii_alphabetic().then(|| u16::from(byte.to_ascii_lowercase() - b'a'))
}

fn numerals(value: &[u8], of: fn(u8) -> Option<u16>) -> Vec<u16> {
    value.iter().filter_map(|byte| of(*byte)).collect()
}

/// `None`: the cipher does not take them, and nothing of them may be shown.
fn encipher(cipher: &FF1<Aes256>, numerals: Vec<u16>, least: usize, instead: u16) -> Option<Vec<u16>> {
    if numerals.len() < least {
        return Some(vec![instead; numerals.len()]);
    }
    let enciphered = cipher.encrypt(&[], &FlexibleNumeralString::from(numerals)).ok()?;
    Some(enciphered.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(value: &str) -> Option<String> {
        let formats = Formats::new(&[7; 32]).unwrap();
        let mut out = BytesMut::new();
        match formats.write(value.as_bytes(), &mut out) {
            Replacement::Null => None,
            Replacement::Written => Some(String::from_utf8(out.to_vec()).unwrap()),
        }
    }

    /// What a reader of the format sees of a character.
    fn kind(byte: u8) -> u8 {
        match byte {
            b'0'..=b'9' => b'9',
            b'a'..=b'z' => b'a',
            b'A'..=b'Z' => b'A',
            other => other,
        }
    }

    #[test]
    fn length_separators_and_kinds_stay_and_the_same_value_comes_to_the_same() {
        for value in
            ["123-45-6789", "4111 1111 1111 1111", "Ann.Miller@example.org", "MRN-0012345", "+49 170 1234567"]
        {
            let shown = masked(value).unwrap();
            assert_ne!(shown, value);
            assert_eq!(
                shown.bytes().map(kind).collect::<Vec<_>>(),
                value.bytes().map(kind).collect::<Vec<_>>()
            );
            assert_eq!(masked(value).unwrap(), shown);
        }
        assert_ne!(masked("123-45-6789"), masked("123-45-6780"));
    }

    #[test]
    fn kinds_with_too_few_characters_are_blotted_out() {
        assert_eq!(masked("MRN-0012345").unwrap().get(..4), Some("XXX-"));
        assert_eq!(masked("Miller 42").unwrap().get(7..), Some("00"));
        for short in ["12345", "ab 12345", "", "--", "Grüße 123456"] {
            assert_eq!(masked(short), None, "{short}");
        }
    }

    /// SP 800-38G, samples 7 to 9 of FF1 (AES-256): the crate is what it says.
    #[test]
    fn the_cipher_meets_the_published_vectors() {
        let key: Vec<u8> = (0..32)
            .map(|at| {
                u8::from_str_radix(
                    &"2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94"[2 * at..2 * at + 2],
                    16,
                )
                .unwrap()
            })
            .collect();
        let cipher = FF1::<Aes256>::new(&key, 10).unwrap();
        let plain: Vec<u16> = (0..10).collect();
        for (tweak, expected) in
            [(&b""[..], [6, 6, 5, 7, 6, 6, 7, 0, 0, 9]), (b"9876543210", [1, 0, 0, 1, 6, 2, 3, 4, 6, 3])]
        {
            let enciphered = cipher.encrypt(tweak, &FlexibleNumeralString::from(plain.clone())).unwrap();
            assert_eq!(Vec::<u16>::from(enciphered), expected);
        }
    }
}
