//! What monitoring asks for, over plain HTTP on one address of its own: `/metrics` (Prometheus' text format), `/healthz` (the process
//! answers) and `/readyz` (a new session would be let in). One thread, one question at a time, nothing of any session.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Now;
use crate::metrics::{Count, Metrics};
use crate::shared::Shared;

/// An asker that is slower, or says more, gets no answer.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// A count of every core: name, what it is, where it stands.
type Counter = (&'static str, &'static str, fn(&Metrics) -> &Count);

const COUNTERS: [Counter; 9] = [
    ("weir_connections_accepted_total", "Client connections taken.", |it| &it.accepted),
    ("weir_connections_refused_total", "Client connections and logins turned away.", |it| &it.refused),
    ("weir_sessions_opened_total", "Sessions opened.", |it| &it.sessions),
    ("weir_sessions_ended_total", "Sessions ended.", |it| &it.ended),
    ("weir_requests_total", "Commands and requests decided.", |it| &it.requests),
    ("weir_requests_held_total", "Of them, those that waited for people.", |it| &it.held),
    ("weir_cancels_total", "Cancel requests passed on.", |it| &it.cancels),
    ("weir_alarms_total", "Alarms: see the log.", |it| &it.alarms),
    ("weir_panics_total", "Sessions ended by a fault of the gateway's own code.", |it| &it.panics),
];
const GAUGES: [Counter; 2] = [
    ("weir_connections", "Client connections now.", |it| &it.connections),
    ("weir_ring_used_bytes", "Events that the recorder has not taken yet.", |it| &it.ring_used_bytes),
];

/// Listens at `[node] metrics`.
///
/// # Errors
/// The operator's: the address cannot be had.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Answers for ever.
pub(crate) fn serve(listener: &TcpListener, shared: &Shared) {
    loop {
        match listener.accept() {
            // What an asker does is its own affair.
            Ok((stream, _)) => drop(answer(stream, shared)),
            Err(error) => {
                if error.kind() != ErrorKind::Interrupted {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = Vec::new();
    let mut piece = [0; 512];
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        let len = stream.read(&mut piece)?;
        question.extend_from_slice(piece.get(..len).unwrap_or_default());
        if len == 0 || question.len() > MAX_QUESTION_BYTES {
            return Ok(());
        }
    }
    let path = question.strip_prefix(b"GET ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
    let (status, kind, body) = match path {
        Some(b"/metrics") => ("200 OK", "text/plain; version=0.0.4", metrics(shared)),
        Some(b"/healthz") => ("200 OK", "text/plain", "alive\n".to_owned()),
        Some(b"/readyz") => match unready(shared) {
            None => ("200 OK", "text/plain", "ready\n".to_owned()),
            Some(why) => ("503 Service Unavailable", "text/plain", format!("{why}\n")),
        },
        _ => ("404 Not Found", "text/plain", "ask for /metrics, /healthz or /readyz\n".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Why no new session would be let in.
fn unready(shared: &Shared) -> Option<&'static str> {
    if shared.draining.load(Ordering::Relaxed) {
        Some("draining: it ends once its sessions have")
    } else if shared.state_is_stale(Now::read()) {
        Some("no current state from the admin service: is weir-admin running?")
    } else if !shared.recorded.load(Ordering::Relaxed) {
        Some("the recorder does not have the rings: is weir-recorder running?")
    } else {
        None
    }
}

fn metrics(shared: &Shared) -> String {
    let mut out = String::new();
    let cores = || shared.metrics.iter().enumerate();
    for (kind, list) in [("counter", &COUNTERS[..]), ("gauge", &GAUGES[..])] {
        for (name, help, read) in list {
            head(&mut out, name, kind, help);
            for (core, metrics) in cores() {
                line(&mut out, name, &format!("core=\"{core}\""), read(metrics).get());
            }
        }
    }
    denials(&mut out, shared.metrics.iter().map(Arc::as_ref));
    let name = "weir_session_faults_total";
    head(&mut out, name, "counter", "Sessions that failed, by whose fault it was.");
    for (core, metrics) in cores() {
        let blamed = [
            ("client", &metrics.faults_client),
            ("gateway", &metrics.faults_gateway),
            ("upstream", &metrics.faults_upstream),
        ];
        for (fault, count) in blamed {
            line(&mut out, name, &format!("core=\"{core}\",fault=\"{fault}\""), count.get());
        }
    }
    logins(&mut out, &shared.metrics);
    let name = "weir_ready";
    head(&mut out, name, "gauge", "Whether a new session would be let in.");
    line(&mut out, name, "", u64::from(unready(shared).is_none()));
    let name = "weir_start_time_seconds";
    head(&mut out, name, "gauge", "When the process started.");
    line(&mut out, name, "", shared.boot / 1_000);
    out
}

fn denials<'a>(out: &mut String, cores: impl Iterator<Item = &'a Metrics>) {
    let mut rules = std::collections::BTreeMap::new();
    for (rule, count) in cores.flat_map(Metrics::denials) {
        *rules.entry(rule).or_insert(0) += count;
    }
    let name = "weir_requests_denied_total";
    head(out, name, "counter", "Commands and requests denied, by rule.");
    for (rule, count) in rules {
        line(out, name, &format!("rule=\"{}\"", escaped(&rule)), count);
    }
}

fn logins(out: &mut String, cores: &[Arc<Metrics>]) {
    let name = "weir_login_duration_seconds";
    head(out, name, "histogram", "From a client's connection to its open session.");
    let mut sums: Vec<(Option<u64>, u64)> = Vec::new();
    for metrics in cores {
        for (at, (bound, count)) in metrics.logins.cumulative().enumerate() {
            match sums.get_mut(at) {
                Some(sum) => sum.1 += count,
                None => sums.push((bound, count)),
            }
        }
    }
    for (bound, count) in &sums {
        let bound = bound.map_or_else(|| "+Inf".to_owned(), seconds);
        line(out, "weir_login_duration_seconds_bucket", &format!("le=\"{bound}\""), *count);
    }
    let sum_ms = cores.iter().map(|metrics| metrics.logins.sum_ms()).sum();
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{name}_sum {}", seconds(sum_ms));
    line(out, "weir_login_duration_seconds_count", "", sums.last().map_or(0, |(_, count)| *count));
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

/// A label's value: backslash, quote and line end are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
