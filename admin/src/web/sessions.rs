//! Sessions: live ones from the data planes, recorded ones from the catalogue. What was said in them is not here: it is
//! encrypted to auditors, who read it where their key is.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use weir_control::SessionSummary;

use super::Site;
use super::failure::Oops;
use super::layout::{self, carried};
use super::provider::encoded;
use super::visit::{Posted, Visitor, is_by_itself};
use super::words::{ago, bytes, count, line, plain, span};
use crate::serve::{Failure, acts};
use crate::sessions::Summary;
use crate::sessions::filter::{ListFilter, SessionFilter};

/// Recorded sessions that one page lists at most.
const NEWEST: u32 = 200;

#[derive(Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    connection: String,
    #[serde(default)]
    with: String,
    #[serde(default)]
    state: String,
}

impl Asked {
    fn filters(&self) -> (SessionFilter, ListFilter) {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let sessions = SessionFilter {
            subject: given(&self.subject),
            connection: given(&self.connection),
            ..SessionFilter::default()
        };
        let one_of = |text: &str, known: &[&str]| known.contains(&text).then(|| text.to_owned());
        let listed = ListFilter {
            state: one_of(&self.state, &["open", "closed"]),
            with: one_of(&self.with, &["allow", "deny", "hold"]),
            newest: Some(NEWEST),
            ..ListFilter::default()
        };
        (sessions, listed)
    }
}

pub(super) async fn list(
    State(site): State<Arc<Site>>,
    headers: axum::http::HeaderMap,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Markup, Oops> {
    let live = acts::live(&site.hub, &visitor.person).await?;
    if is_by_itself(&headers) {
        return Ok(live_table(&live));
    }
    let recorded = acts::recorded(&site.hub, &visitor.person, asked.filters()).await?;
    let body = html! {
        h1 { "Sessions" }
        div hx-ext="sse" sse-connect="/live" {
            section #live aria-labelledby="live-title" {
                h2 #live-title { "Live" }
                div aria-live="polite" hx-get="/sessions" hx-trigger="sse:changed" { (live_table(&live)) }
            }
        }
        section aria-labelledby="recorded-title" {
            h2 #recorded-title { "Recorded" }
            (filter_form(&asked))
            (recorded_table(&recorded))
        }
    };
    Ok(layout::page(&visitor, "/sessions", "Sessions", &body))
}

fn filter_form(asked: &Asked) -> Markup {
    let choice = |now: &str, value: &'static str, words: &'static str| {
        html! { option value=(value) selected[now == value] { (words) } }
    };
    html! {
        form.filter method="get" action="/sessions" role="search" aria-label="Recorded sessions" {
            div { label for="subject" { "Subject" } input #subject name="subject" value=(asked.subject) autocomplete="off"; }
            div { label for="connection" { "Connection" } input #connection name="connection" value=(asked.connection) autocomplete="off"; }
            div { label for="with" { "With a command that was" }
                select #with name="with" {
                    (choice(&asked.with, "", "anything")) (choice(&asked.with, "allow", "allowed"))
                    (choice(&asked.with, "deny", "denied")) (choice(&asked.with, "hold", "held"))
                } }
            div { label for="state" { "State" }
                select #state name="state" {
                    (choice(&asked.state, "", "open or closed")) (choice(&asked.state, "open", "open")) (choice(&asked.state, "closed", "closed"))
                } }
            div { button type="submit" { "Filter" } }
        }
    }
}

fn live_table(live: &[SessionSummary]) -> Markup {
    html! {
        @if live.is_empty() {
            p.empty { "Nobody is connected. Point a client at a listener of this node, with its token as the password." }
        } @else {
            table.list {
                thead { tr { th scope="col" { "Who" } th scope="col" { "Target" } th scope="col" { "From" } th scope="col" { "Since" } th scope="col" { "Session" } } }
                tbody { @for one in live { tr {
                    td data-label="Who" { strong { (line(&one.subject)) } @if let Some(run) = &one.run { " " span.quiet { (line(run)) } } }
                    td data-label="Target" { (line(&one.connection)) "/" (line(&one.role)) }
                    td data-label="From" { (line(&one.client)) }
                    td data-label="Since" { (ago(one.opened_unix_ms)) }
                    td data-label="Session" { a href={ "/sessions/" (encoded(&one.session)) } { code { (one.session) } } }
                } } }
            }
        }
    }
}

fn recorded_table(recorded: &[Summary]) -> Markup {
    html! {
        @if recorded.is_empty() {
            p.empty { "No recorded session is like that. Leave a field of the filter empty to see more." }
        } @else {
            p.quiet { "The newest " (recorded.len()) @if recorded.len() >= NEWEST as usize { " of them: filter to see others" } "." }
            table.list {
                thead { tr {
                    th scope="col" { "Who" } th scope="col" { "Target" } th scope="col" { "Began" } th scope="col" { "Commands" }
                    th scope="col" { "To client" } th scope="col" { "Session" }
                } }
                tbody { @for one in recorded.iter().rev() { tr {
                    td data-label="Who" { strong { (line(&one.subject)) } }
                    td data-label="Target" { (line(&one.connection)) "/" (line(&one.role)) }
                    td data-label="Began" { (ago(one.opened_unix_ms)) @if one.closed_unix_ms.is_none() { " " span.badge.open { "open" } } }
                    td data-label="Commands" { (decided(one)) }
                    td data-label="To client" { (bytes(one.to_client_bytes)) }
                    td data-label="Session" { a href={ "/sessions/" (one.session.to_string()) } { code { (one.session.to_string()) } } }
                } } }
            }
        }
    }
}

fn decided(one: &Summary) -> Markup {
    html! {
        span.n { (one.allowed) " allowed" }
        @if one.denied > 0 { " " span.badge.denied { (one.denied) " denied" } }
        @if one.held > 0 { " " span.badge.waiting { (one.held) " held" } }
    }
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    visitor: Visitor,
    Path(session): Path<String>,
) -> Result<Markup, Oops> {
    let live = acts::live(&site.hub, &visitor.person).await?.into_iter().find(|one| one.session == session);
    let recorded = acts::recorded_session(&site.hub, &visitor.person, &session).await?;
    if live.is_none() && recorded.is_none() {
        return Err(Failure::not_found(
            "No session has this id. It may have ended before anything of it was recorded.",
        )
        .into());
    }
    let body = html! {
        p { a href="/sessions" { "← Sessions" } }
        h1 { "Session " code { (session) } }
        @if let Some(live) = &live { (running(&visitor, live)) }
        @if let Some(recorded) = &recorded { (about(recorded)) }
        section.card aria-labelledby="content" {
            h2 #content { "What was said" }
            p { "What clients sent and saw is encrypted to auditors. On a machine that has an auditor's key:" }
            pre.command { code { "weir-admin sessions replay " (session) " --serve" } }
        }
    };
    Ok(layout::page(&visitor, "/sessions", "Session", &body))
}

fn running(visitor: &Visitor, live: &SessionSummary) -> Markup {
    html! {
        section.card aria-labelledby="running" {
            h2 #running { "Live" }
            p { strong { (line(&live.subject)) } " on " (line(&live.connection)) "/" (line(&live.role)) ", from " (line(&live.client)) ", since " (ago(live.opened_unix_ms)) "." }
            @if visitor.person.roles.administrator {
                form.answer method="post" action={ "/sessions/" (encoded(&live.session)) "/kill" } {
                    (carried(visitor))
                    label for="reason" { "Reason" span.quiet { " (the client is told, and it is kept in the record)" } }
                    input #reason name="reason" required maxlength="500" autocomplete="off";
                    div.buttons { button.danger type="submit" { "End this session" } }
                }
            } @else {
                p.quiet { "Administrators may end it." }
            }
        }
    }
}

fn about(one: &Summary) -> Markup {
    let lasted = one.closed_unix_ms.map(|closed| span(closed.saturating_sub(one.opened_unix_ms)));
    html! {
        section.card aria-labelledby="about" {
            h2 #about { "Who, where, what" }
            dl {
                dt { "Identity" } dd { strong { (plain(&one.subject)) } br; span.quiet { (plain(&one.issuer)) } }
                dt { "Groups" } dd { (plain(&one.groups.join(", "))) }
                @if let Some(run) = &one.run { dt { "Run" } dd { code { (plain(run)) } } }
                @if let Some(purpose) = &one.purpose { dt { "Purpose" } dd { (plain(purpose)) } }
                @if let Some(application) = &one.application { dt { "Application" } dd { (plain(application)) } }
                dt { "Target" } dd { (plain(&one.connection)) "/" (plain(&one.role)) " (" (plain(&one.protocol)) ")" }
                dt { "Client" } dd { (plain(&one.client_address)) }
                dt { "Upstream" } dd { (plain(&one.upstream_address)) }
                dt { "Node" } dd { (plain(&one.node)) }
                dt { "Began" } dd { (ago(one.opened_unix_ms)) }
                dt { "Ended" } dd { @match lasted {
                    Some(lasted) => { "after " (lasted) @if let Some(reason) = &one.close_reason { ": " (plain(reason)) } }
                    None => { "still open" }
                } }
                dt { "Commands" } dd { (decided(one)) }
                dt { "Passed" } dd { (bytes(one.to_upstream_bytes)) " to the upstream, " (bytes(one.to_client_bytes)) " to the client, " (count(one.events, "event")) }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Kill {
    #[serde(default)]
    reason: String,
}

pub(super) async fn kill(
    State(site): State<Arc<Site>>,
    Path(session): Path<String>,
    posted: Posted<Kill>,
) -> Result<Response, Oops> {
    let Posted { visitor, form } = posted;
    let reason = form.reason.trim();
    visitor.person.needs_administrator()?;
    if reason.is_empty() {
        return Err(Oops::bad_request("Say why: the client is told, and it is kept in the record."));
    }
    acts::kill(&site.hub, &visitor.person, &session, reason.to_owned()).await?;
    Ok(Redirect::to("/sessions").into_response())
}
