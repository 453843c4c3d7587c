//! Arithmetic that a pattern's match must pass to count as the real thing.
//!
//! A pattern that allows separators can begin too early ("12 4111 1111 1111 1111"), so a validator may accept the
//! tail of a match that starts after a separator. It never moves the end: scanners report every end.

use weir_policy::Validator;

/// Where in `text` (a whole match) the accepted value begins; `None`: the match is not one.
pub fn accept(validator: Validator, text: &[u8]) -> Option<usize> {
    let accepts: fn(&[u8]) -> bool = match validator {
        Validator::IbanMod97 => is_iban,
        Validator::Luhn => is_luhn,
        Validator::SsnRange => is_ssn,
    };
    group_starts(text).find(|start| text.get(*start..).is_some_and(accepts))
}

/// The text's start, and each letter or digit that follows something else.
fn group_starts(text: &[u8]) -> impl Iterator<Item = usize> {
    let after_separator = text.windows(2).enumerate().filter_map(|(index, pair)| match pair {
        [before, after] if !before.is_ascii_alphanumeric() && after.is_ascii_alphanumeric() => {
            Some(index + 1)
        }
        _ => None,
    });
    std::iter::once(0).chain(after_separator)
}

/// 12 to 19 digits (ISO/IEC 7812 allows 8 to 19; payment cards have at least 12) with a right check digit.
fn is_luhn(text: &[u8]) -> bool {
    let (mut sum, mut digits, mut any) = (0u32, 0u32, 0u8);
    for byte in text.iter().rev().filter(|byte| byte.is_ascii_alphanumeric()) {
        if !byte.is_ascii_digit() {
            return false;
        }
        let digit = byte - b'0';
        any |= digit;
        let weighted = if digits % 2 == 1 { u32::from(digit) * 2 } else { u32::from(digit) };
        sum += if weighted > 9 { weighted - 9 } else { weighted };
        digits += 1;
        if digits > 19 {
            return false;
        }
    }
    // All zeros pass the arithmetic and are nobody's card.
    digits >= 12 && any != 0 && sum.is_multiple_of(10)
}

/// Nine digits: area not 000, 666 or 9xx; group not 00; serial not 0000.
fn is_ssn(text: &[u8]) -> bool {
    let mut number = 0u32;
    let mut digits = 0u32;
    for byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
        if !byte.is_ascii_digit() || digits == 9 {
            return false;
        }
        number = number * 10 + u32::from(byte - b'0');
        digits += 1;
    }
    let (area, group, serial) = (number / 1_000_000, number / 10_000 % 100, number % 10_000);
    digits == 9 && area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

/// ISO 13616: two letters, two check digits, 11 to 30 letters or digits; rearranged, the number is 1 modulo 97.
fn is_iban(text: &[u8]) -> bool {
    let plain = || text.iter().copied().filter(u8::is_ascii_alphanumeric);
    let length = plain().count();
    let shape = plain()
        .take(4)
        .enumerate()
        .all(|(index, byte)| if index < 2 { byte.is_ascii_alphabetic() } else { byte.is_ascii_digit() });
    let check = plain().skip(2).take(2).fold(0u32, |number, byte| number * 10 + u32::from(byte & 15));
    let remainder = plain().skip(4).chain(plain().take(4)).fold(0u32, |number, byte| {
        if byte.is_ascii_digit() {
            (number * 10 + u32::from(byte - b'0')) % 97
        } else {
            (number * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97
        }
    });
    (15..=34).contains(&length) && shape && (2..=98).contains(&check) && remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_told_from_other_numbers() {
        for (text, expected) in [
            ("4111111111111111", Some(0)),
            ("4111 1111 1111 1111", Some(0)),
            ("3782-822463-10005", Some(0)),
            ("4111111111111112", None),
            ("0000000000000000", None),
            ("18", None),
            ("12 4111 1111 1111 1111", Some(3)),
            ("4111 1111 1111 1111 0000 0000", None),
            ("4111x11111111111", None),
        ] {
            assert_eq!(accept(Validator::Luhn, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn social_security_numbers_lie_in_issued_ranges() {
        for (text, expected) in [
            ("123-45-6789", Some(0)),
            ("123456789", Some(0)),
            ("899 01 0001", Some(0)),
            ("000-45-6789", None),
            ("666-45-6789", None),
            ("900-45-6789", None),
            ("123-00-6789", None),
            ("123-45-0000", None),
            ("123-45-678", None),
            ("123-45-67890", None),
        ] {
            assert_eq!(accept(Validator::SsnRange, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn ibans_carry_their_check_digits() {
        for (text, expected) in [
            ("DE89370400440532013000", Some(0)),
            ("GB82 WEST 1234 5698 7654 32", Some(0)),
            ("gb82west12345698765432", Some(0)),
            ("NO9386011117947", Some(0)),
            ("DE88370400440532013000", None),
            ("DE89", None),
            // 99 leaves what 02 leaves, and 00 and 01 what 97 and 98 leave; only 02 to 98 are ever given.
            ("GB99VOQG77005687387087", None),
            ("NO0060304307176", None),
            ("8DE9370400440532013000", None),
            ("AB12 DE89370400440532013000", Some(5)),
        ] {
            assert_eq!(accept(Validator::IbanMod97, text.as_bytes()), expected, "{text}");
        }
    }
}
