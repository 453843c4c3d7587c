//! `sessions replay --serve`: the same lines as a page, on the auditor's own loopback and nowhere else.
//!
//! Everything recorded is escaped; the page has no script and may load none. Its address holds a random word, and the
//! host it is asked for must be the loopback's, so that no other page of the auditor's browser can read it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_segment::SessionId;

use super::files;
use super::replay::Since;
use super::transcript::{Line, Mark, Transcript};
use crate::table;

/// Nothing but this page's own style sheet.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Pieces of the page that may wait for the browser.
const AHEAD: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 64 << 10;
const STYLE: &str = "body{font:14px/1.4 monospace;margin:2em;color:#222;background:#fff}\
h1{font-size:16px}\
div{margin:.2em 0;padding-left:.6em;border-left:3px solid #ddd}\
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}\
time{color:#777}\
.command{border-color:#36c}.note{border-color:#c90}.gap{border-color:#c00}.session{border-color:#393}\
.answer pre{white-space:pre;overflow-x:auto}\n";

/// What the page shows.
struct Shown {
    dir: PathBuf,
    session: SessionId,
    since: Since,
    word: String,
    port: u16,
}

/// Serves until the process is told to end.
pub(super) async fn serve(dir: &Path, session: SessionId, since: Since, port: u16) -> Result<ExitCode> {
    let mut first = Transcript::new();
    files::walk(dir, |head, body| {
        if head.session == session {
            first.event(head, body, &mut |_| ());
        }
        Ok(())
    })?;
    if first.events == 0 {
        bail!("session {session} is not recorded here");
    }
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = listener.await.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    let port = listener.local_addr()?.port();
    let mut random = [0; 16];
    if SystemRandom::new().fill(&mut random).is_err() {
        bail!("the system gave no randomness");
    }
    let word = hex::encode(random);
    say!("http://127.0.0.1:{port}/{word}/");
    eprintln!("weir-admin: showing session {session}; Ctrl-C ends it");
    let shown = Arc::new(Shown { dir: dir.to_owned(), session, since, word, port });
    let router =
        Router::new().route("/{word}/", get(page)).route("/{word}/style.css", get(style)).with_state(shown);
    axum::serve(listener, router).with_graceful_shutdown(crate::serve::stop()).await?;
    Ok(ExitCode::SUCCESS)
}

impl Shown {
    /// Whether the request is this page's: its word, and a host that no other name resolves to.
    fn admits(&self, word: &str, headers: &HeaderMap) -> bool {
        let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        // Digests, so that the time that comparing takes tells nothing of the word.
        let same = digest(word).as_ref() == digest(&self.word).as_ref();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let ours = [format!("127.0.0.1:{}", self.port), format!("localhost:{}", self.port)];
        same && ours.iter().any(|name| name == host)
    }
}

fn guarded(kind: &'static str, body: HttpBody) -> Response {
    let named = |name: &'static str| HeaderName::from_static(name);
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (named("x-content-type-options"), "nosniff"),
        (named("referrer-policy"), "no-referrer"),
        (named("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}

fn nothing() -> Response {
    let mut response = guarded("text/plain; charset=utf-8", HttpBody::from("not here\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

async fn style(
    State(shown): State<Arc<Shown>>,
    UrlPath(word): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    if !shown.admits(&word, &headers) {
        return nothing();
    }
    guarded("text/css; charset=utf-8", HttpBody::from(STYLE))
}

async fn page(
    State(shown): State<Arc<Shown>>,
    UrlPath(word): UrlPath<String>,
    headers: HeaderMap,
) -> Response {
    if !shown.admits(&word, &headers) {
        return nothing();
    }
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || write(&shown, &send));
    guarded("text/html; charset=utf-8", HttpBody::from_stream(Pieces(receive)))
}

/// The page as it is written, so that a long session takes no more memory than a short one.
struct Pieces(mpsc::Receiver<Bytes>);

impl futures_core::Stream for Pieces {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

/// Ends early where the browser has left.
fn write(shown: &Shown, send: &mpsc::Sender<Bytes>) {
    let mut pending = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\
         <link rel=\"stylesheet\" href=\"style.css\"></head>\n<body><h1>Session {0}</h1>\n",
        shown.session
    );
    let mut transcript = Transcript::new();
    let mut from_us = None;
    let outcome = files::walk_quietly(&shown.dir, |head, body| {
        if head.session == shown.session {
            let from_us = *from_us.get_or_insert_with(|| shown.since.of(head.wall_unix_us));
            transcript.event(head, body, &mut |line| put(&line, from_us, &mut pending));
        }
        if pending.len() >= PIECE {
            send.blocking_send(Bytes::from(std::mem::take(&mut pending)))?;
        }
        Ok(())
    });
    transcript.flush(&mut |line| put(&line, from_us.unwrap_or(0), &mut pending));
    pending += match outcome {
        Ok(true) => "</body></html>\n",
        Ok(false) | Err(_) => {
            "<div class=\"gap\"><pre>Not all that is there could be read: run weir-admin sessions verify.</pre></div>\
             </body></html>\n"
        }
    };
    let _left = send.blocking_send(Bytes::from(pending));
}

fn put(line: &Line, from_us: i64, page: &mut String) {
    if line.at_us < from_us {
        return;
    }
    let class = match line.mark {
        Mark::Session => "session",
        Mark::Command => "command",
        Mark::Data => "data",
        Mark::Note => "note",
        Mark::Answer => "answer",
        Mark::Gap => "gap",
    };
    page.push_str("<div class=\"");
    page.push_str(class);
    page.push_str("\">");
    if line.mark != Mark::Answer {
        let at = table::time(u64::try_from(line.at_us / 1_000).unwrap_or(0));
        page.push_str("<time>");
        page.push_str(&at);
        page.push_str("</time>");
    }
    page.push_str("<pre>");
    escape(&line.text, page);
    page.push_str("</pre></div>\n");
}

/// Text for an element or a quoted attribute.
pub(crate) fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_text_on_the_page() {
        let mut page = String::new();
        let text = "<script>alert(1)</script> \" onload='x' &amp;".to_owned();
        put(&Line { at_us: 0, mark: Mark::Command, text }, 0, &mut page);
        assert!(
            !page.contains("<script")
                && page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &quot; onload=")
        );
        assert!(page.contains("&#39;x&#39; &amp;amp;"));
    }

    #[test]
    fn only_the_pages_own_word_at_a_loopback_host_is_answered() {
        let word = "00112233445566778899aabbccddeeff".to_owned();
        let session = SessionId::NONE;
        let shown =
            Shown { dir: PathBuf::new(), session, since: Since::Offset(0), word: word.clone(), port: 80 };
        let host =
            |host: &'static str| [(HOST, axum::http::HeaderValue::from_static(host))].into_iter().collect();
        assert!(shown.admits(&word, &host("127.0.0.1:80")) && shown.admits(&word, &host("localhost:80")));
        assert!(!shown.admits("", &host("127.0.0.1:80")));
        assert!(!shown.admits(&word, &host("evil.example:80")), "a name rebound to the loopback is refused");
        assert!(!shown.admits(&word, &HeaderMap::new()));
    }
}
