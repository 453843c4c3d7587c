//! `sessions replay`: what the client sent, what was decided, and what it saw, in order.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use weir_segment::{Body, Head, Open, Request, SessionId, Verdict};

use super::export::released;
use super::files::{self, Told};
use super::find::Wanted;
use super::{http, postgres};
use crate::table;

/// Reads one protocol's answers.
enum Answers {
    Http(http::Transcript),
    Postgres(postgres::Transcript),
    /// Before the session's opening is seen, and protocols without a reader: bytes are counted, not shown.
    Unread(u64),
}

pub(super) fn run(dir: &Path, session: SessionId) -> Result<ExitCode> {
    let mut replay = Replay { answers: Answers::Unread(0), events: 0 };
    let whole = Wanted::of_session(session).walk(dir, Told::OnStderr, |head, body| {
        replay.event(head, body);
        Ok(())
    })?;
    if replay.events == 0 {
        bail!("session {session} is not recorded here");
    }
    replay.flush();
    Ok(files::code(whole))
}

struct Replay {
    answers: Answers,
    events: u64,
}

impl Replay {
    fn event(&mut self, head: &Head, body: &Body<'_>) {
        self.events += 1;
        let at = table::time(files::unix_ms(head));
        match body {
            Body::SessionOpen(open) => self.open(&at, head, open),
            Body::Request(request) => self.request(&at, request),
            Body::Response(response) => self.response(&response.bytes),
            Body::Upload(upload) => {
                let text = String::from_utf8_lossy(&upload.bytes);
                say!("{at}  >> {} bytes of data", upload.original_bytes);
                say!("{}", indent(&table::plain_lines(text.trim_end())));
            }
            Body::Hold(hold) => say!("{at}  -- held as {} by rule {}", hold.hold, hold.rule),
            Body::Release(release) => {
                let by = release.approvers.join(", ");
                let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
                let reason =
                    if release.reason.is_empty() { String::new() } else { format!(": {}", release.reason) };
                let line = format!("{} {}{by}{reason}", release.hold, released(release.outcome));
                say!("{at}  -- {}", table::plain(&line));
            }
            Body::MaskLedger(ledger) => {
                say!("{at}  -- masked {}", table::plain(&String::from_utf8_lossy(&ledger.json)));
            }
            Body::SessionClose(close) => {
                self.flush();
                say!("{at}  == session closed: {}", table::plain(&close.reason));
            }
            Body::Gap(gap) => say!("{at}  !! gap in the record: {}", table::plain(&gap.reason)),
            Body::Admin(admin) => {
                say!("{at}  -- {}", table::plain(&String::from_utf8_lossy(&admin.json)));
            }
            Body::Mint(mint) => {
                say!("{at}  -- credential {} {}", mint.credential, table::plain(&mint.id))
            }
            Body::Outcome(outcome) => self.response(&outcome.answer),
        }
    }

    fn open(&mut self, at: &str, head: &Head, open: &Open<'_>) {
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
        say!("{at}  == {}", table::plain(&line));
        if let Some(purpose) = &open.purpose {
            say!("{at}  == purpose: {}", table::plain(purpose));
        }
        self.answers = match &*open.protocol {
            "postgres" => Answers::Postgres(postgres::Transcript::default()),
            "http" => Answers::Http(http::Transcript::default()),
            _ => Answers::Unread(0),
        };
    }

    fn request(&mut self, at: &str, request: &Request<'_>) {
        self.flush();
        let text = String::from_utf8_lossy(&request.text);
        say!("{at}  > {}", indent_rest(&table::plain_lines(text.trim_end())));
        if request.bind_count > 0 {
            say!("{}", indent(&format!("with {}", postgres::binds(request.bind_count, &request.binds))));
        }
        let verdict = match request.verdict {
            Verdict::Allow => "allowed",
            Verdict::Deny => "DENIED",
            Verdict::Hold => "HELD",
        };
        let rule = if request.rule.is_empty() {
            String::new()
        } else {
            format!(" by rule {}: {}", request.rule, request.message)
        };
        say!("{at}  -- {verdict}{}", table::plain(&rule));
        for noted in request.noted.iter() {
            say!("{at}  -- noted by rule {}", table::plain(&noted.rule));
        }
    }

    fn response(&mut self, bytes: &[u8]) {
        let lines = match &mut self.answers {
            Answers::Http(transcript) => transcript.read(bytes),
            Answers::Postgres(transcript) => transcript.read(bytes),
            Answers::Unread(count) => {
                *count += bytes.len() as u64;
                return;
            }
        };
        print(&lines);
    }

    /// What a transcript kept back in case more of it followed.
    fn flush(&mut self) {
        match &mut self.answers {
            Answers::Http(transcript) => print(&transcript.flush()),
            Answers::Postgres(transcript) => print(&transcript.flush()),
            Answers::Unread(0) => {}
            Answers::Unread(count) => {
                say!("    ({count} bytes of an answer that this program cannot read)");
                *count = 0;
            }
        }
    }
}

fn print(lines: &[String]) {
    for line in lines {
        say!("    {line}");
    }
}

fn indent(text: &str) -> String {
    format!("    {}", indent_rest(text))
}

fn indent_rest(text: &str) -> String {
    text.replace('\n', "\n    ")
}
