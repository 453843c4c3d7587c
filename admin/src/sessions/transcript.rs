//! A session as lines for people, whatever shows them: what the client sent, what was decided, what it saw, in order.
//!
//! Lines hold no control characters, so that nothing recorded can move a cursor. Memory is bounded: long answers and
//! long results are cut and counted.

use weir_segment::{Body, Head, Open, Request, Verdict};

use super::export::released;
use super::{http, postgres, ssh};
use crate::table;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The session begins or ends.
    Session,
    /// What the client sent.
    Command,
    /// Data of the client inside a command.
    Data,
    /// What was decided, held, released, masked or minted.
    Note,
    /// What the client saw.
    Answer,
    /// What the record may miss.
    Gap,
}

/// One or more lines of text that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// When, in microseconds since the Unix epoch.
    pub at_us: i64,
    pub mark: Mark,
    pub text: String,
}

impl Line {
    /// As terminals show it.
    pub(super) fn plain(&self) -> String {
        let at = table::time(u64::try_from(self.at_us / 1_000).unwrap_or(0));
        let text = self.text.replace('\n', "\n    ");
        match self.mark {
            Mark::Session => format!("{at}  == {text}"),
            Mark::Command => format!("{at}  > {text}"),
            Mark::Data => format!("{at}  >> {text}"),
            Mark::Note => format!("{at}  -- {text}"),
            Mark::Answer => format!("    {text}"),
            Mark::Gap => format!("{at}  !! {text}"),
        }
    }
}

/// Reads one protocol's answers.
enum Answers {
    Http(http::Transcript),
    Postgres(postgres::Transcript),
    Ssh(ssh::Transcript),
    /// Before the session's opening is seen, and protocols without a reader: bytes are counted, not shown.
    Unread(u64),
}

/// One session, as its events go by.
pub(super) struct Transcript {
    answers: Answers,
    at_us: i64,
    pub events: u64,
}

impl Transcript {
    pub(super) const fn new() -> Self {
        Self { answers: Answers::Unread(0), at_us: 0, events: 0 }
    }

    /// Tells the lines that this event completes.
    pub(super) fn event(&mut self, head: &Head, body: &Body<'_>, tell: &mut impl FnMut(Line)) {
        self.events += 1;
        self.at_us = head.wall_unix_us;
        match body {
            Body::SessionOpen(open) => self.open(head, open, tell),
            Body::Request(request) => self.request(request, tell),
            Body::Response(response) => self.answer(head.lane, &response.bytes, tell),
            Body::Outcome(outcome) => {
                self.answer(head.lane, &outcome.answer, tell);
                self.ended(outcome, tell);
            }
            Body::SessionClose(close) => {
                self.flush(tell);
                self.say(Mark::Session, &format!("session closed: {}", close.reason), tell);
            }
            Body::Gap(gap) => {
                self.say(Mark::Gap, &format!("gap in the record: {}", gap.reason), tell);
            }
            // Sealed to others; `replay --original` reads them.
            Body::Original(_) => {}
            Body::Upload(_)
            | Body::Hold(_)
            | Body::Release(_)
            | Body::MaskLedger(_)
            | Body::Mint(_)
            | Body::Admin(_) => {
                if let Some((mark, text)) = aside(body) {
                    self.say(mark, &text, tell);
                }
            }
        }
    }

    /// What was kept back in case more of it followed.
    pub(super) fn flush(&mut self, tell: &mut impl FnMut(Line)) {
        let lines = match &mut self.answers {
            Answers::Http(transcript) => transcript.flush(),
            Answers::Postgres(transcript) => transcript.flush(),
            Answers::Ssh(transcript) => transcript.flush(),
            Answers::Unread(0) => Vec::new(),
            Answers::Unread(count) => {
                let line = format!("({count} bytes of an answer that this program cannot read)");
                *count = 0;
                vec![line]
            }
        };
        self.answers_of(lines, tell);
    }

    fn open(&mut self, head: &Head, open: &Open<'_>, tell: &mut impl FnMut(Line)) {
        let who = &open.identity;
        let line = format!(
            "session {}: {} ({}) as {}/{} over {} from {}",
            head.session,
            who.subject,
            who.issuer,
            open.connection,
            open.role,
            open.protocol,
            open.client_address
        );
        self.say(Mark::Session, &line, tell);
        if let Some(purpose) = &open.purpose {
            self.say(Mark::Session, &format!("purpose: {purpose}"), tell);
        }
        self.answers = match &*open.protocol {
            "postgres" => Answers::Postgres(postgres::Transcript::default()),
            "http" => Answers::Http(http::Transcript::default()),
            "ssh" => Answers::Ssh(ssh::Transcript::default()),
            _ => Answers::Unread(0),
        };
    }

    fn request(&mut self, request: &Request<'_>, tell: &mut impl FnMut(Line)) {
        self.flush(tell);
        let text = String::from_utf8_lossy(&request.text);
        let mut command = text.trim_end().replace("\r\n", "\n");
        if matches!(self.answers, Answers::Ssh(_)) {
            // Its text is a line, a name or a target: the word says of what.
            command = format!("{} {command}", request.words).trim_end().to_owned();
        }
        if request.bind_count > 0 {
            command += &format!("\nwith {}", postgres::binds(request.bind_count, &request.binds));
        }
        self.say(Mark::Command, &command, tell);
        let verdict = match request.verdict {
            Verdict::Allow => "allowed",
            Verdict::Deny => "DENIED",
            Verdict::Hold => "HELD",
        };
        let by = if request.rule.is_empty() {
            String::new()
        } else {
            format!(" by rule {}: {}", request.rule, request.message)
        };
        self.say(Mark::Note, &format!("{verdict}{by}"), tell);
        for noted in request.noted.iter() {
            self.say(Mark::Note, &format!("noted by rule {}", noted.rule), tell);
        }
    }

    /// How a program ended, where its protocol has no words of its own for it.
    fn ended(&mut self, outcome: &weir_segment::Outcome<'_>, tell: &mut impl FnMut(Line)) {
        if matches!(self.answers, Answers::Ssh(_)) {
            self.flush(tell);
            self.say(Mark::Note, &format!("ended {}", String::from_utf8_lossy(&outcome.json)), tell);
        }
    }

    fn answer(&mut self, lane: u32, bytes: &[u8], tell: &mut impl FnMut(Line)) {
        let lines = match &mut self.answers {
            Answers::Http(transcript) => transcript.read(bytes),
            Answers::Postgres(transcript) => transcript.read(bytes),
            Answers::Ssh(transcript) => transcript.read(lane, bytes),
            Answers::Unread(count) => {
                *count += bytes.len() as u64;
                return;
            }
        };
        self.answers_of(lines, tell);
    }

    fn answers_of(&self, lines: Vec<String>, tell: &mut impl FnMut(Line)) {
        if !lines.is_empty() {
            tell(Line { at_us: self.at_us, mark: Mark::Answer, text: lines.join("\n") });
        }
    }

    fn say(&self, mark: Mark, text: &str, tell: &mut impl FnMut(Line)) {
        tell(Line { at_us: self.at_us, mark, text: table::plain_lines(text) });
    }
}

/// What happened beside commands and answers.
fn aside(body: &Body<'_>) -> Option<(Mark, String)> {
    Some(match body {
        Body::Upload(upload) => {
            let text = String::from_utf8_lossy(&upload.bytes);
            (Mark::Data, format!("{} bytes of data\n{}", upload.original_bytes, text.trim_end()))
        }
        Body::Hold(hold) => (Mark::Note, format!("held as {} by rule {}", hold.hold, hold.rule)),
        Body::Release(release) => {
            let by = release.approvers.join(", ");
            let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
            let reason =
                if release.reason.is_empty() { String::new() } else { format!(": {}", release.reason) };
            (Mark::Note, format!("{} {}{by}{reason}", release.hold, released(release.outcome)))
        }
        Body::MaskLedger(ledger) => (Mark::Note, format!("masked {}", String::from_utf8_lossy(&ledger.json))),
        Body::Admin(admin) => (Mark::Note, String::from_utf8_lossy(&admin.json).into_owned()),
        Body::Mint(mint) => (Mark::Note, format!("credential {} {}", mint.credential, mint.id)),
        Body::SessionOpen(_)
        | Body::SessionClose(_)
        | Body::Request(_)
        | Body::Response(_)
        | Body::Outcome(_)
        | Body::Gap(_)
        | Body::Original(_) => return None,
    })
}

/// The bytes of an event that the client was sent.
pub(super) fn sent<'b>(body: &'b Body<'_>) -> &'b [u8] {
    if let Body::Response(response) = body {
        &response.bytes
    } else if let Body::Outcome(outcome) = body {
        &outcome.answer
    } else {
        &[]
    }
}
