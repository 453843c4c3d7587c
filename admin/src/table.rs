//! Tables on a terminal: columns as wide as their widest cell, and nothing that a cell says can move the cursor.

/// Prints a head and rows; nothing at all for no rows but `none`.
pub(crate) fn print(head: &[&str], rows: &[Vec<String>], none: &str) {
    if rows.is_empty() {
        say!("{none}");
        return;
    }
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|name| name.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say!("{}", cells.join("  ").trim_end());
    }
}

/// One line of text, control characters shown as what they are: recordings hold what strangers sent.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// The same for text of several lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// The beginning of a long text, on one line.
pub(crate) fn short(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    line.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// `2026-01-31 17:05:09Z` of Unix milliseconds.
pub(crate) fn time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// Unix microseconds of what [`time`] prints, or of its date alone; a `T` may stand between, and seconds and `Z` be left out.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches(['Z', 'z']);
    let (date, of_day) = text.split_once([' ', 'T', 't']).unwrap_or((text, "00:00"));
    let numbers = |text: &str, between: char| {
        text.split(between).map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<_>>>()
    };
    let (date, of_day) = (numbers(date, '-')?, numbers(of_day, ':')?);
    let &[year, month @ 1..=12, day @ 1..=31] = date.as_slice() else { return None };
    let (hour, minute, second) = match *of_day.as_slice() {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The days of a year's months before it, as `civil` counts them: the year begins in March.
    let shifted = u64::from(if month > 2 { year } else { year - 1 });
    let of_year = (153 * u64::from((month + 9) % 12) + 2) / 5 + u64::from(day) - 1;
    let days =
        (shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year).checked_sub(719_468)?;
    if civil(days) != (year.into(), month.into(), day.into()) {
        return None;
    }
    let seconds = days * 86_400 + u64::from(hour * 3_600 + minute * 60 + second);
    i64::try_from(seconds * 1_000_000).ok()
}

/// Days since 1970 to a date of the Gregorian calendar (Hinnant's `civil_from_days`, for days that are not negative).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_769_879_109_999, "2026-01-31 17:05:09Z"),
        ] {
            assert_eq!(time(ms), text);
            assert_eq!(parse_time(text), Some(i64::try_from(ms / 1_000 * 1_000_000).unwrap()));
        }
        assert_eq!(parse_time("2000-02-29"), Some(951_782_400_000_000));
        assert_eq!(parse_time("2026-01-31T17:05"), parse_time("2026-01-31 17:05:00Z"));
        for bad in
            ["", "2026", "2026-02-29", "2026-13-01", "2026-01-01T24:00", "1969-12-31", "2026-01-01T1:2:3:4"]
        {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_recorded_can_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\r"), "a\\u{1b}[2Jb\\r");
        assert_eq!(short("a   b\n c", 5), "a b c");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
