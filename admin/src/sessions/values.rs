//! Values that Postgres sends in binary, as the text that it would have sent instead. Only the types that drivers ask
//! for in binary; anything else, and whatever does not fit its type, is `None` and shown as bytes.

use crate::when;

/// Days from 1970 to 2000, where Postgres counts from.
const EPOCH_DAYS: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;
/// Items shown of one array.
const ITEMS: usize = 100;

/// The text of a binary value of type `oid`.
pub(super) fn text(oid: u32, value: &[u8]) -> Option<String> {
    Some(match oid {
        16 => match value {
            [0] => "f".into(),
            [1] => "t".into(),
            _ => return None,
        },
        17 => format!("\\x{}", hex::encode(value)),
        // char, name, text, json, xml, bpchar, varchar, unknown.
        18 | 19 | 25 | 114 | 142 | 705 | 1042 | 1043 => utf8(value)?,
        20 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        650 | 869 => network(value)?,
        700 => f32::from_be_bytes(value.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(value.try_into().ok()?).to_string(),
        1082 => date(value)?,
        1083 => clock(i64::from_be_bytes(value.try_into().ok()?)),
        1114 => moment(value, "")?,
        1184 => moment(value, "+00")?,
        1186 => interval(value)?,
        1700 => numeric(value)?,
        2950 => uuid(value)?,
        3802 => utf8(value.strip_prefix(&[1])?)?,
        _ if is_array(oid) => array(value)?,
        _ => return None,
    })
}

const fn is_array(oid: u32) -> bool {
    matches!(
        oid,
        199 | 651 | 1000..=1003 | 1005 | 1007 | 1009 | 1014..=1016 | 1021 | 1022 | 1028 | 1041 | 1115 | 1182
            | 1183 | 1185 | 1187 | 1231 | 2951 | 3807
    )
}

fn utf8(value: &[u8]) -> Option<String> {
    str::from_utf8(value).ok().map(str::to_owned)
}

fn date(value: &[u8]) -> Option<String> {
    Some(match i32::from_be_bytes(value.try_into().ok()?) {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        days => when::date(i64::from(days) + EPOCH_DAYS),
    })
}

fn moment(value: &[u8], zone: &str) -> Option<String> {
    Some(match i64::from_be_bytes(value.try_into().ok()?) {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        since => {
            let days = since.div_euclid(DAY_US).checked_add(EPOCH_DAYS)?;
            format!("{} {}{zone}", when::date(days), clock(since.rem_euclid(DAY_US)))
        }
    })
}

/// `17:05:09.25` of microseconds since midnight.
fn clock(us: i64) -> String {
    let (seconds, micros) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if micros == 0 { text } else { format!("{text}.{}", format!("{micros:06}").trim_end_matches('0')) }
}

fn interval(value: &[u8]) -> Option<String> {
    let (us, rest) = value.split_first_chunk::<8>()?;
    let (days, months) = rest.split_first_chunk::<4>()?;
    let (us, days) = (i64::from_be_bytes(*us), i32::from_be_bytes(*days));
    let months = i32::from_be_bytes(months.try_into().ok()?);
    let sign = if us < 0 { "-" } else { "" };
    let clock = clock(i64::try_from(us.unsigned_abs()).ok()?);
    Some(format!("{months} mons {days} days {sign}{clock}"))
}

/// Base 10,000 digits: how many, the weight of the first, the sign, and how many decimal places are shown.
fn numeric(value: &[u8]) -> Option<String> {
    let mut words = value.as_chunks::<2>().0.iter().map(|word| u16::from_be_bytes(*word));
    let (count, weight) = (words.next()?, words.next()?.cast_signed());
    let (sign, scale) = (words.next()?, words.next()?);
    let digits: Vec<u16> = words.collect();
    if digits.len() != usize::from(count) || digits.iter().any(|digit| *digit > 9_999) || scale > 16_383 {
        return None;
    }
    let mut text = String::from(match sign {
        0 => "",
        0x4000 => "-",
        0xc000 => return Some("NaN".into()),
        0xd000 => return Some("Infinity".into()),
        0xf000 => return Some("-Infinity".into()),
        _ => return None,
    });
    let digit = |place: i32| {
        let at = usize::try_from(i32::from(weight) - place).ok();
        at.and_then(|at| digits.get(at)).copied().unwrap_or(0)
    };
    for place in (0..=i32::from(weight).max(0)).rev() {
        let first = place == i32::from(weight).max(0);
        text += &if first { digit(place).to_string() } else { format!("{:04}", digit(place)) };
    }
    if scale > 0 {
        let groups = i32::from(scale.div_ceil(4));
        let fraction: String = (1..=groups).map(|group| format!("{:04}", digit(-group))).collect();
        text.push('.');
        text += fraction.get(..usize::from(scale))?;
    }
    Some(text)
}

fn uuid(value: &[u8]) -> Option<String> {
    let value: &[u8; 16] = value.try_into().ok()?;
    let hex = hex::encode(value);
    let parts = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?];
    Some(parts.join("-"))
}

fn network(value: &[u8]) -> Option<String> {
    let [family, bits, is_cidr, length, address @ ..] = value else { return None };
    if usize::from(*length) != address.len() {
        return None;
    }
    let (text, whole) = match family {
        2 => (std::net::IpAddr::from(<[u8; 4]>::try_from(address).ok()?).to_string(), 32),
        3 => (std::net::IpAddr::from(<[u8; 16]>::try_from(address).ok()?).to_string(), 128),
        _ => return None,
    };
    Some(if *bits == whole && *is_cidr == 0 { text } else { format!("{text}/{bits}") })
}

fn array(value: &[u8]) -> Option<String> {
    let word = |rest: &mut &[u8]| -> Option<i32> {
        let (word, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        Some(i32::from_be_bytes(*word))
    };
    let mut rest = value;
    let (dimensions, _flags) = (word(&mut rest)?, word(&mut rest)?);
    let oid = word(&mut rest)?.cast_unsigned();
    if !(0..=6).contains(&dimensions) || is_array(oid) {
        return None;
    }
    for _ in 0..dimensions {
        let (_length, _lower_bound) = (word(&mut rest)?, word(&mut rest)?);
    }
    let mut items = Vec::new();
    while !rest.is_empty() {
        let item = match usize::try_from(word(&mut rest)?) {
            Err(_) => "NULL".to_owned(),
            Ok(length) => {
                let (item, tail) = rest.split_at_checked(length)?;
                rest = tail;
                text(oid, item)?
            }
        };
        if items.len() == ITEMS {
            items.push("…".into());
            break;
        }
        items.push(item);
    }
    Some(format!("{{{}}}", items.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `select T::type` sends in binary, as captured from a server, and its text.
    #[test]
    fn binary_values_read_as_their_text() {
        let us = |us: i64| us.to_be_bytes().to_vec();
        for (oid, value, expected) in [
            (16, vec![1], "t"),
            (21, vec![0xff, 0xfe], "-2"),
            (23, vec![0, 0, 1, 0], "256"),
            (20, 1_234_567_890_123_i64.to_be_bytes().to_vec(), "1234567890123"),
            (701, 1.5_f64.to_be_bytes().to_vec(), "1.5"),
            (17, vec![0xde, 0xad], "\\xdead"),
            (1082, 0_i32.to_be_bytes().to_vec(), "2000-01-01"),
            (1082, (-1_i32).to_be_bytes().to_vec(), "1999-12-31"),
            (1114, us(1_500_000), "2000-01-01 00:00:01.5"),
            (1184, us(-1), "1999-12-31 23:59:59.999999+00"),
            (1083, us(61_000_000), "00:01:01"),
            (1186, [us(3_600_000_000), vec![0, 0, 0, 2, 0, 0, 0, 1]].concat(), "1 mons 2 days 01:00:00"),
            (1700, vec![0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 13, 72], "12.34"),
            (1700, vec![0, 1, 0xff, 0xff, 0x40, 0, 0, 4, 0, 5], "-0.0005"),
            (1700, vec![0, 1, 0, 1, 0, 0, 0, 0, 0, 3], "30000"),
            (1700, vec![0, 0, 0, 0, 0xc0, 0, 0, 0], "NaN"),
            (2950, (0..16).collect(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
            (869, vec![2, 32, 0, 4, 127, 0, 0, 1], "127.0.0.1"),
            (650, vec![2, 8, 1, 4, 10, 0, 0, 0], "10.0.0.0/8"),
            (3802, [&[1][..], b"{\"a\":1}"].concat(), "{\"a\":1}"),
            (
                1007,
                [1_i32, 1, 23, 2, 1, 4, 7, -1].iter().flat_map(|word| word.to_be_bytes()).collect(),
                "{7,NULL}",
            ),
        ] {
            assert_eq!(text(oid, &value).as_deref(), Some(expected), "type {oid}");
        }
    }

    #[test]
    fn what_does_not_fit_its_type_is_left_to_be_shown_as_bytes() {
        for oid in [16, 20, 21, 23, 26, 650, 700, 869, 1007, 1082, 1114, 1186, 1700, 2950, 3802, 99_999] {
            for length in [0, 3, 5, 9, 13] {
                let value = vec![0xee; length];
                assert_eq!(text(oid, &value), None, "type {oid}, {length} bytes");
            }
        }
    }
}
