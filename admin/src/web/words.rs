//! How times, counts and what others wrote stand on a page.

use maud::{Markup, html};

use crate::{clock, table};

/// What somebody else wrote, with every sign that would not show, or would show as something else, spelt out.
pub(super) fn plain(text: &str) -> String {
    table::plain_lines(text)
}

/// `3 min ago`, with the time itself to hover over and for machines.
pub(super) fn ago(unix_ms: u64) -> Markup {
    let (now, time) = (clock::unix_ms(), table::time(unix_ms));
    let words = match now.checked_sub(unix_ms) {
        Some(passed) if passed < 60_000 => "just now".to_owned(),
        Some(passed) => format!("{} ago", span(passed)),
        None => format!("in {}", span(unix_ms - now)),
    };
    html! { time datetime=(time) title=(time) { (words) } }
}

/// The greatest unit of a length of time that is at least one.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut whole, mut unit) = (count, 0);
    while whole >= 10_240 && unit + 1 < UNITS.len() {
        whole /= 1_024;
        unit += 1;
    }
    format!("{whole} {}", UNITS.get(unit).unwrap_or(&""))
}

/// `1 session`, `2 sessions`.
pub(super) fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Short enough for a line of a list.
pub(super) fn line(text: &str) -> String {
    table::short(&table::plain(text), 160)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_and_sizes_read_well() {
        let spans =
            [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 days")];
        for (ms, words) in spans {
            assert_eq!(span(ms), words);
        }
        let sizes = [(0, "0 B"), (10_239, "10239 B"), (10_240, "10 KiB"), (1 << 40, "1024 GiB")];
        for (size, words) in sizes {
            assert_eq!(bytes(size), words);
        }
        assert_eq!(count(1, "session"), "1 session");
        assert_eq!(count(0, "session"), "0 sessions");
    }
}
