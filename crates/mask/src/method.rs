//! The replacement of one protected value, by method. Knows nothing of where the value stood.

use bytes::BytesMut;
use weir_policy::MaskMethod;

use crate::MaskKey;

/// What became of a protected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Replacement {
    /// It is NULL now; nothing was written.
    Null,
    /// Its replacement was appended.
    Written,
}

/// Appends what `method` makes of `value`. The result is always valid UTF-8.
pub fn replace(method: &MaskMethod, key: &MaskKey, value: &[u8], out: &mut BytesMut) -> Replacement {
    match method {
        MaskMethod::Fixed(text) => out.extend_from_slice(text.as_bytes()),
        MaskMethod::Format => {
            return key.formats().map_or(Replacement::Null, |formats| formats.write(value, out));
        }
        MaskMethod::Hash => write_hash(&key.hash(value), out),
        MaskMethod::Null => return Replacement::Null,
        MaskMethod::Partial { keep_last } => write_partial(value, usize::from(*keep_last), out),
        MaskMethod::Token => write_token(&key.token(value), out),
    }
    Replacement::Written
}

/// How little a method lets through, for two rules on one value: the higher number wins.
pub const fn strictness(method: &MaskMethod) -> u16 {
    match method {
        // Keeps some of the value; the fewer characters, the stricter.
        MaskMethod::Partial { keep_last } => 255 - *keep_last as u16,
        // This shows which values are equal, and how long they are.
        MaskMethod::Format => 290,
        // These show which values are equal.
        MaskMethod::Hash | MaskMethod::Token => 300,
        MaskMethod::Fixed(_) => 400,
        MaskMethod::Null => 500,
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn write_hash(digest: &[u8; 32], out: &mut BytesMut) {
    let mut text = [b'0'; 16];
    for (to, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *to = [byte >> 4, byte & 15].map(|nibble| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    }
    out.extend_from_slice(&text);
}

/// 128 bits of the digest in base 62, the last digit first: 22 digits hold them with room to spare.
fn write_token(digest: &[u8; 32], out: &mut BytesMut) {
    /// So many digits at a time fit 64 bits, where dividing is cheap.
    const DIGITS: u32 = 10;
    const PART: u128 = 62_u128.pow(DIGITS);
    let mut rest = digest.iter().take(16).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
    let mut token = *b"tok_0000000000000000000000";
    for part in token.get_mut(4..).unwrap_or_default().chunks_mut(DIGITS as usize) {
        let mut number = u64::try_from(rest % PART).unwrap_or_default();
        rest /= PART;
        for to in part {
            let digit = usize::try_from(number % 62).unwrap_or_default();
            *to = BASE62.get(digit).copied().unwrap_or(b'0');
            number /= 62;
        }
    }
    out.extend_from_slice(&token);
}

/// ASCII punctuation and spaces stay, everything else counts as a character to hide: outside ASCII no table of
/// separators is safe for every script. A value of no more than `keep_last` such characters is hidden whole,
/// since "the last four" of a four-digit value is the value. A byte that is not UTF-8 counts as one character.
fn write_partial(value: &[u8], keep_last: usize, out: &mut BytesMut) {
    if value.is_ascii() {
        let hidden = |byte: u8| byte.is_ascii_alphanumeric() || byte.is_ascii_control();
        let keep_from = keep_from(value.iter().filter(|byte| hidden(**byte)).count(), keep_last);
        let at = out.len();
        out.extend_from_slice(value);
        for byte in out.iter_mut().skip(at).filter(|byte| hidden(**byte)).take(keep_from) {
            *byte = b'*';
        }
        return;
    }
    let hidden = |ch: char| !ch.is_ascii() || ch.is_ascii_alphanumeric() || ch.is_ascii_control();
    let characters = || {
        value.utf8_chunks().flat_map(|chunk| {
            let broken = chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(broken)
        })
    };
    let keep_from = keep_from(characters().filter(|ch| hidden(*ch)).count(), keep_last);
    let mut seen = 0;
    let mut utf8 = [0; 4];
    for ch in characters() {
        seen += usize::from(hidden(ch));
        let shown = if hidden(ch) && seen <= keep_from { '*' } else { ch };
        out.extend_from_slice(shown.encode_utf8(&mut utf8).as_bytes());
    }
}

/// How many characters of `total` are hidden.
const fn keep_from(total: usize, keep_last: usize) -> usize {
    if total > keep_last { total - keep_last } else { total }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(method: &MaskMethod, value: &[u8]) -> Option<String> {
        let mut out = BytesMut::new();
        match replace(method, &MaskKey::new(1, [7; 32]), value, &mut out) {
            Replacement::Null => {
                assert!(out.is_empty());
                None
            }
            Replacement::Written => Some(String::from_utf8(out.to_vec()).unwrap()),
        }
    }

    #[test]
    fn partial_keeps_the_last_characters_and_every_separator() {
        for (keep_last, value, expected) in [
            (4, "123-45-6789", "***-**-6789"),
            (4, "4111 1111 1111 1111", "**** **** **** 1111"),
            (4, "1234", "****"),
            (4, "12-34", "**-**"),
            (4, "12345", "*2345"),
            (0, "a b", "* *"),
            (2, "", ""),
            (3, "Zoë Müller", "*** ***ler"),
            (2, "日本語", "*本語"),
            (1, "a–b", "**b"),
        ] {
            let method = MaskMethod::Partial { keep_last };
            assert_eq!(masked(&method, value.as_bytes()).as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn partial_hides_bytes_that_are_not_text() {
        let method = MaskMethod::Partial { keep_last: 1 };
        assert_eq!(masked(&method, b"\xff\xfe\x00z").as_deref(), Some("***z"));
    }

    #[test]
    fn tokens_and_hashes_are_deterministic_and_of_fixed_width() {
        let token = masked(&MaskMethod::Token, b"123-45-6789").unwrap();
        assert_eq!(token, masked(&MaskMethod::Token, b"123-45-6789").unwrap());
        assert_ne!(token, masked(&MaskMethod::Token, b"123-45-6780").unwrap());
        assert!(token.starts_with("tok_") && token.len() == 26);
        assert!(token.bytes().skip(4).all(|byte| byte.is_ascii_alphanumeric()));
        let hash = masked(&MaskMethod::Hash, b"123-45-6789").unwrap();
        assert!(hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    /// A changed spelling would break joins with what was tokenised before.
    #[test]
    fn a_token_spells_its_number_digit_by_digit() {
        for digest in [[0; 32], [0xff; 32], std::array::from_fn(|at| u8::try_from(at * 37 % 251).unwrap())] {
            let mut number =
                digest.iter().take(16).fold(0u128, |number, byte| (number << 8) | u128::from(*byte));
            let mut expected = "tok_".to_owned();
            for _ in 0..22 {
                expected.push(char::from(BASE62[usize::try_from(number % 62).unwrap()]));
                number /= 62;
            }
            assert_eq!(number, 0);
            let mut out = BytesMut::new();
            write_token(&digest, &mut out);
            assert_eq!(out, expected.as_bytes());
        }
    }

    #[test]
    fn fixed_and_null_say_nothing_of_the_value() {
        assert_eq!(masked(&MaskMethod::Fixed("[gone]".into()), b"x").as_deref(), Some("[gone]"));
        assert_eq!(masked(&MaskMethod::Null, b"x"), None);
    }

    #[test]
    fn the_method_that_shows_less_is_stricter() {
        let ladder = [
            MaskMethod::Partial { keep_last: 255 },
            MaskMethod::Partial { keep_last: 4 },
            MaskMethod::Partial { keep_last: 0 },
            MaskMethod::Format,
            MaskMethod::Token,
            MaskMethod::Fixed(String::new()),
            MaskMethod::Null,
        ];
        assert!(ladder.windows(2).all(|pair| strictness(&pair[0]) < strictness(&pair[1])));
    }
}
