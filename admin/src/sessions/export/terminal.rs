//! What an SSH client's terminal showed, event by event, as players take it: output in its own time, sizes, and a marker a command.
//!
//! Text only: bytes that are none are shown as replacement letters, and a letter that was cut between two events is put together.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_segment::{Body, Head};

/// One event of a player's: its code and data.
pub(super) type Shown = (&'static str, String);

/// What is known of a session's terminals so far.
#[derive(Default)]
pub(super) struct Terminal {
    /// Columns and rows, as the client said first.
    pub size: Option<(u64, u64)>,
    /// The beginning of a letter whose rest is still to come, by lane.
    cut: BTreeMap<u32, Vec<u8>>,
    commands: u64,
}

impl Terminal {
    pub(super) fn event(&mut self, head: &Head, body: &Body<'_>) -> Vec<Shown> {
        match body {
            Body::Request(request) if &*request.words != "env" => {
                self.commands += 1;
                let text = String::from_utf8_lossy(&request.text);
                vec![("m", format!("{} {} {text}", self.commands, request.words).trim_end().to_owned())]
            }
            Body::Response(response) => self.output(head.lane, &response.bytes),
            Body::Outcome(outcome) => self.output(head.lane, &outcome.answer),
            Body::Admin(admin) => self.sized(&admin.json),
            Body::SessionOpen(_)
            | Body::SessionClose(_)
            | Body::Request(_)
            | Body::Upload(_)
            | Body::Hold(_)
            | Body::Release(_)
            | Body::MaskLedger(_)
            | Body::Mint(_)
            | Body::Gap(_)
            | Body::Original(_) => Vec::new(),
        }
    }

    fn output(&mut self, lane: u32, bytes: &[u8]) -> Vec<Shown> {
        let cut = self.cut.entry(lane).or_default();
        cut.extend_from_slice(bytes);
        let whole = match str::from_utf8(cut) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => cut.len(),
        };
        let rest = cut.split_off(whole);
        let text = String::from_utf8_lossy(&std::mem::replace(cut, rest)).into_owned();
        if text.is_empty() { Vec::new() } else { vec![("o", text)] }
    }

    fn sized(&mut self, json: &[u8]) -> Vec<Shown> {
        let event: Value = serde_json::from_slice(json).unwrap_or_default();
        let number = |name| event.get(name).and_then(serde_json::Value::as_u64);
        let size = number("columns").zip(number("rows"));
        let Some((columns, rows)) = size.filter(|(columns, rows)| *columns > 0 && *rows > 0) else {
            return Vec::new();
        };
        if self.size.is_none() {
            self.size = Some((columns, rows));
            return Vec::new();
        }
        vec![("r", format!("{columns}x{rows}"))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_was_cut_is_put_together_and_sizes_are_told() {
        let mut terminal = Terminal::default();
        assert!(terminal.sized(b"{\"action\":\"terminal\",\"columns\":80,\"rows\":24}").is_empty());
        assert_eq!(terminal.size, Some((80, 24)));
        assert_eq!(terminal.sized(b"{\"columns\":100,\"rows\":30}"), [("r", "100x30".to_owned())]);
        assert!(terminal.sized(b"{\"action\":\"signal\"}").is_empty());
        assert_eq!(terminal.output(0, b"a\xc3"), [("o", "a".to_owned())]);
        assert_eq!(terminal.output(0, b"\xa9"), [("o", "\u{e9}".to_owned())]);
        assert_eq!(terminal.output(0, b"\xffb"), [("o", "\u{fffd}b".to_owned())]);
    }
}
