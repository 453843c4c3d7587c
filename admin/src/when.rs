//! Moments as people write them, and back: RFC 3339 in UTC, or with an offset. It asks no clock.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// `2026-01-31T17:05:09.000001Z` of Unix microseconds.
pub(crate) fn text(unix_us: i64) -> String {
    let (days, of_day) = (unix_us.div_euclid(DAY_US), unix_us.rem_euclid(DAY_US));
    let (year, month, day) = civil(days);
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `2026-01-31` of days since 1970.
pub(crate) fn date(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Unix microseconds of a date (its first moment) or of a date and time, in UTC unless an offset is given.
///
/// # Errors
/// The caller's: what it must look like.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    read(text.trim()).ok_or_else(|| format!("{text:?} is no time: write 2026-01-31 or 2026-01-31T17:05:09Z"))
}

fn read(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let midnight = days(date)?.checked_mul(DAY_US)?;
    if rest.is_empty() {
        return Some(midnight);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = split_offset(rest)?;
    midnight.checked_add(clock_us(clock)?)?.checked_sub(offset)
}

fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=longest).contains(&day).then(|| days_from_civil(year, month, day))
}

fn clock_us(clock: &str) -> Option<i64> {
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = whole.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.as_bytes().get(place).copied().unwrap_or(b'0');
        micros = micros * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// The clock's part, and the offset from UTC in microseconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    match text.rfind(['+', '-']) {
        Some(at) => {
            let (clock, offset) = text.split_at_checked(at)?;
            Some((clock, offset_us(offset)?))
        }
        None => Some((text, 0)),
    }
}

/// Microseconds of `+01:00`, `-0530` or `+01`.
pub(crate) fn offset_us(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

/// Exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let only_digits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 to a date of the Gregorian calendar (Hinnant's `civil_from_days`).
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// The other way (Hinnant's `days_from_civil`).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written_back() {
        for (written, unix_us, canonical) in [
            ("1970-01-01", 0, "1970-01-01T00:00:00.000000Z"),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            ("2026-01-31 17:05:09.25", 1_769_879_109_250_000, "2026-01-31T17:05:09.250000Z"),
            ("2026-01-31T18:05:09+01:00", 1_769_879_109_000_000, "2026-01-31T17:05:09.000000Z"),
            ("1969-12-31T23:59:59.999999-00:00", -1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(parse(written), Ok(unix_us), "{written}");
            assert_eq!(text(unix_us), canonical);
        }
        assert_eq!(date(-1), "1969-12-31");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in ["", "soon", "2026-02-29", "2026-13-01", "2026-01-32", "2026-01-31T25:00Z", "2026-01-31X"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
