//! The first page: what waits, what runs, what was refused, and whether everything is as it should be.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::failure::Oops;
use super::visit::{Visitor, is_by_itself};
use super::words::{line, plain};
use super::{Site, chart, layout};
use crate::clock;
use crate::serve::{Status, acts};
use crate::sessions::Summary;
use crate::sessions::filter::{ListFilter, SessionFilter};

const HOUR_MS: u64 = 3_600_000;
/// Hours that the charts show.
const HOURS: usize = 24;
/// Sessions that the charts are made of at most: the newest.
const NEWEST: u32 = 5_000;

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    headers: axum::http::HeaderMap,
    visitor: Visitor,
) -> Result<Response, Oops> {
    // Whoever may only answer has one page to be at.
    if !visitor.person.may_view() {
        return Ok(Redirect::to("/approvals").into_response());
    }
    let (hub, person) = (&site.hub, &visitor.person);
    let status = acts::status(hub, person).await?;
    let live = acts::live(hub, person).await?.len();
    let mine = acts::holds(hub, person, false).await?.iter().filter(|hold| person.may_answer(hold)).count();
    let since = clock::unix_ms().saturating_sub(HOUR_MS * HOURS as u64);
    let filter =
        SessionFilter { since: i64::try_from(since.saturating_mul(1_000)).ok(), ..SessionFilter::default() };
    let listed = ListFilter { newest: Some(NEWEST), ..ListFilter::default() };
    let recorded = acts::recorded(hub, person, (filter, listed)).await?;
    let now = html! { (numbers(&status, live, mine, &recorded)) (health(&status)) };
    if is_by_itself(&headers) {
        return Ok(now.into_response());
    }
    let body = html! {
        h1 { "Overview" }
        div hx-ext="sse" sse-connect="/live" {
            div #now hx-get="/" hx-trigger="sse:changed" { (now) }
        }
        (charts(&recorded))
    };
    Ok(layout::page(&visitor, "/", "Overview", &body).into_response())
}

fn numbers(status: &Status, live: usize, mine: usize, recorded: &[Summary]) -> Markup {
    let denied: u64 = recorded.iter().map(|one| one.denied).sum();
    html! {
        ul.numbers {
            li { a href="/approvals" class=[(status.waiting > 0).then_some("attention")] { strong { (status.waiting) } span { "waiting for approval" }
                @if mine > 0 { em { (mine) " for you" } } } }
            li { a href="/sessions" { strong { (live) } span { "live sessions" } } }
            li { a href="/sessions?with=deny" { strong { (denied) } span { "commands denied in 24 h" } } }
            li { a href="/connections" { strong { (status.connections) } span { "protected connections" } } }
        }
    }
}

fn health(status: &Status) -> Markup {
    let recording = &status.recording;
    let missing: Vec<&str> =
        status.issuers.iter().filter(|issuer| !issuer.keys).map(|issuer| issuer.issuer.as_str()).collect();
    html! {
        section.card aria-labelledby="health" {
            h2 #health { "Is everything as it should be?" }
            ul.health {
                @if status.dataplanes.is_empty() {
                    li.bad { "No data plane is linked: nobody gets through. Start " code { "weir-dataplane" } " on this node." }
                }
                @for link in &status.dataplanes {
                    li class=(if link.applied_version == status.state_version { "good" } else { "wait" }) {
                        "Data plane " strong { (line(&link.node)) } " has "
                        @if link.applied_version == status.state_version { "the state in force" } @else { "an older state, and is being told" }
                        ", " (super::words::count(link.sessions as u64, "session")) "."
                    }
                }
                @if missing.is_empty() { li.good { "The keys of every issuer are known." } }
                @for issuer in missing { li.bad { "The keys of " strong { (plain(issuer)) } " could not be fetched: its tokens are refused." } }
                @for alarm in &recording.alarms { li.bad { strong { "The recording contradicts itself. " } (plain(alarm)) } }
                @if recording.alarms.is_empty() {
                    li.good { @match recording.newest {
                        Some(newest) => { "The recording is checked up to segment " (newest) "." }
                        None => { "No segment is sealed yet: there is nothing to check." }
                    } }
                }
            }
        }
    }
}

fn charts(recorded: &[Summary]) -> Markup {
    let first = clock::unix_ms() / HOUR_MS - (HOURS as u64 - 1);
    let mut sessions = [0_u64; HOURS];
    let mut denied = [0_u64; HOURS];
    for one in recorded {
        let hour =
            (one.opened_unix_ms / HOUR_MS).checked_sub(first).and_then(|hour| usize::try_from(hour).ok());
        let Some(hour) = hour else { continue };
        if let Some(count) = sessions.get_mut(hour) {
            *count += 1;
        }
        if let Some(count) = denied.get_mut(hour) {
            *count += one.denied + one.held;
        }
    }
    html! {
        section.charts aria-labelledby="charts" {
            h2 #charts { "The last 24 hours" }
            @if recorded.is_empty() {
                p.empty { "Nothing was recorded yet. The first session shows here as soon as it is opened." }
            } @else {
                div.pair {
                    (chart::bars("Sessions begun an hour", &sessions, "calm"))
                    (chart::bars("Commands denied or held an hour", &denied, "alert"))
                }
            }
        }
    }
}
