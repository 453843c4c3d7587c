//! Tables on a terminal: columns as wide as their widest cell, and nothing that a cell says can move the cursor.

use crate::{output, when};

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
    // Written at once: standard output would write each line by itself.
    let mut whole = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        whole.push_str(cells.join("  ").trim_end());
        whole.push('\n');
    }
    output::text(&whole);
}

/// One line of text, control characters shown as what they are: recordings hold what strangers sent.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if hides(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// Signs that do not show, or that make others show elsewhere: what is read must be what was said.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
    let date = when::date(i64::try_from(days).unwrap_or_default());
    format!("{date} {:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// `20260131T170509Z` of Unix milliseconds (ISO 8601's basic form).
pub(crate) fn basic_time(unix_ms: u64) -> String {
    let text: String = time(unix_ms).chars().filter(|ch| !matches!(ch, '-' | ':')).collect();
    text.replacen(' ', "T", 1)
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
        }
    }

    #[test]
    fn nothing_recorded_can_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\r"), "a\\u{1b}[2Jb\\r");
        assert_eq!(plain("a\u{202e}b\u{200b}é"), "a\\u{202e}b\\u{200b}é");
        assert_eq!(short("a   b\n c", 5), "a b c");
        assert_eq!(short("abcdef", 4), "abc…");
    }
}
