//! The approvals inbox: who waits for whom, one held command in full, and the visitor's answer.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use weir_control::HoldRequest;

use super::Site;
use super::failure::Oops;
use super::layout::{self, carried};
use super::provider::encoded;
use super::visit::{Posted, Visitor, is_by_itself};
use super::words::{ago, line, plain};
use crate::serve::{Answer, Person, RunAnswer, acts};
use crate::state::{Status, StoredHold};

#[derive(Deserialize)]
pub(super) struct All {
    #[serde(default)]
    all: Option<String>,
}

pub(super) async fn inbox(
    State(site): State<Arc<Site>>,
    headers: axum::http::HeaderMap,
    visitor: Visitor,
    Query(All { all }): Query<All>,
) -> Result<Markup, Oops> {
    let all = all.is_some();
    let holds = acts::holds(&site.hub, &visitor.person, all).await?;
    let list = list(&visitor.person, &holds, all);
    if is_by_itself(&headers) {
        return Ok(list);
    }
    let here = if all { "/approvals?all=1" } else { "/approvals" };
    let body = html! {
        div.title {
            h1 { "Approvals" }
            nav.tabs aria-label="Which commands" {
                a href="/approvals" aria-current=[(!all).then_some("page")] { "Waiting" }
                a href="/approvals?all=1" aria-current=[all.then_some("page")] { "All" }
            }
        }
        div hx-ext="sse" sse-connect="/live" {
            div #holds aria-live="polite" hx-get=(here) hx-trigger="sse:changed" hx-swap="innerHTML" { (list) }
        }
    };
    Ok(layout::page(&visitor, "/approvals", "Approvals", &body))
}

fn list(person: &Person, holds: &[StoredHold], all: bool) -> Markup {
    html! {
        @if holds.is_empty() {
            div.empty {
                @if all { h2 { "No command was held yet" } } @else { h2 { "Nothing waits" } }
                p { "A command waits here when a rule with " code { "action = \"hold\"" } " matches it. You see those that a rule \
                     leaves to one of your groups"
                    @if person.may_view() { ", and those that your role lets you see" } "." }
                @if !all { p { a.button href="/approvals?all=1" { "See what was answered before" } } }
            }
        } @else {
            ul.cards {
                @for hold in holds { li { (card(person, hold)) } }
            }
        }
    }
}

fn card(person: &Person, hold: &StoredHold) -> Markup {
    let request = &hold.request;
    html! {
        article.hold {
            header {
                (badge(hold.status))
                h2 { a href={ "/approvals/" (encoded(&request.hold)) } { (line(&request.rule)) } }
                span.quiet { (ago(request.at_unix_ms)) }
            }
            pre.command { code { (line(&request.command)) } }
            p.quiet {
                strong { (line(&request.subject)) } " on " strong { (line(&request.connection)) "/" (line(&request.role)) }
                @if let Some(purpose) = &request.purpose { ", for " (line(purpose)) }
                ". " (standing(person, hold))
            }
        }
    }
}

fn standing(person: &Person, hold: &StoredHold) -> String {
    let (given, needed) = (hold.approvals.len(), hold.request.quorum.max(1));
    match hold.status {
        Status::Waiting if person.asked_for(hold) => {
            "Your own command: somebody else must answer.".to_owned()
        }
        Status::Waiting if needed > 1 => format!("{given} of {needed} approvals."),
        Status::Waiting => "Waits for one approval.".to_owned(),
        Status::Approved | Status::Denied | Status::Expired | Status::Withdrawn => match &hold.ended_by {
            Some(by) => format!("{} by {}.", capital(hold.status.word()), line(by)),
            None => format!("{}.", capital(hold.status.word())),
        },
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn badge(status: Status) -> Markup {
    html! { span class={ "badge " (status.word()) } { (status.word()) } }
}

#[derive(Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    seen: String,
}

/// What changes of a hold while somebody looks at it.
fn stage(hold: &StoredHold) -> String {
    format!("{}-{}", hold.status.word(), hold.approvals.len())
}

pub(super) async fn one(
    State(site): State<Arc<Site>>,
    headers: axum::http::HeaderMap,
    visitor: Visitor,
    Path(hold): Path<String>,
    Query(Seen { seen }): Query<Seen>,
) -> Result<Response, Oops> {
    let stored = acts::hold(&site.hub, &visitor.person, &hold).await?;
    if is_by_itself(&headers) {
        // Only what is new: somebody may be writing a reason.
        let new = stage(&stored) != seen;
        return Ok(if new {
            state(&visitor, &stored).into_response()
        } else {
            StatusCode::NO_CONTENT.into_response()
        });
    }
    let request = &stored.request;
    let body = html! {
        p { a href="/approvals" { "← Approvals" } }
        h1 { (line(&request.rule)) }
        p.lead { (plain(&request.message)) }
        section aria-labelledby="command" {
            h2 #command { "The exact command" }
            pre.command.whole tabindex="0" { code { (plain(&request.command)) } }
            @if !request.binds.is_empty() {
                h3 { "Bind values" }
                ol.binds {
                    @for bind in &request.binds {
                        li { @match bind { Some(bind) => code { (plain(bind)) }, None => em { "NULL" } } }
                    }
                }
            }
        }
        div hx-ext="sse" sse-connect="/live" {
            section aria-live="polite" aria-label="The answer" { (state(&visitor, &stored)) }
        }
        section.card aria-labelledby="about" {
            h2 #about { "Who, where, why" }
            (about(request, visitor.person.may_view()))
        }
    };
    Ok(layout::page(&visitor, "/approvals", &format!("Held: {}", line(&request.rule)), &body).into_response())
}

fn about(request: &HoldRequest, may_view: bool) -> Markup {
    html! {
        dl {
            dt { "Identity" } dd { strong { (plain(&request.subject)) } br; span.quiet { (plain(&request.issuer)) } }
            dt { "Groups" } dd { (plain(&request.groups.join(", "))) }
            @if let Some(run) = &request.run { dt { "Run" } dd { code { (plain(run)) } } }
            @for (name, value) in &request.claims { dt { (plain(name)) } dd { code { (plain(value)) } } }
            dt { "Purpose" } dd { @match &request.purpose { Some(purpose) => (plain(purpose)), None => span.quiet { "none given" } } }
            dt { "Target" } dd { (plain(&request.connection)) "/" (plain(&request.role)) }
            dt { "Asked" } dd { (ago(request.at_unix_ms)) }
            dt { "Expires" } dd { (ago(request.expires_unix_ms)) }
            @if request.in_transaction { dt { "Transaction" } dd { "open: it may hold locks while it waits" } }
            dt { "Session" } dd {
                @if may_view { a href={ "/sessions/" (encoded(&request.session)) } { code { (plain(&request.session)) } } }
                @else { code { (plain(&request.session)) } }
            }
            dt { "Approvers" } dd { (plain(&request.approvers.join(", "))) @if request.quorum > 1 { " (" (request.quorum) " people)" } }
            (facts(&request.facts))
        }
    }
}

/// What the statement's own structure says it would touch.
fn facts(facts: &serde_json::Value) -> Markup {
    html! {
        @match facts.as_object() {
            Some(object) => {
                @for (name, value) in object {
                    @if !value.is_null() { dt { "Fact: " (plain(name)) } dd { code { (plain(&value.to_string())) } } }
                }
            }
            None => {}
        }
    }
}

/// How far the answer is, and the form where the visitor's counts.
fn state(visitor: &Visitor, hold: &StoredHold) -> Markup {
    let person = &visitor.person;
    let waits = hold.status == Status::Waiting;
    let look = format!("/approvals/{}?seen={}", encoded(&hold.request.hold), stage(hold));
    html! {
        div hx-get=[waits.then_some(look)] hx-trigger=[waits.then_some("sse:changed")] hx-swap="outerHTML" {
            p { (badge(hold.status)) " " (standing(person, hold)) }
            @if let Some(reason) = &hold.reason { p { "Reason: " (plain(reason)) } }
            @if !hold.approvals.is_empty() {
                ul { @for by in &hold.approvals {
                    li { "Approved by " strong { (plain(&by.subject)) } @if let Some(reason) = &by.reason { ": " (plain(reason)) } }
                } }
            }
            @if waits && !person.asked_for(hold) {
                @if person.may_answer(hold) { (answer_form(visitor, &hold.request)) }
                @else { p.quiet { "Only members of " (plain(&hold.request.approvers.join(", "))) " may answer." } }
            }
        }
    }
}

fn answer_form(visitor: &Visitor, request: &HoldRequest) -> Markup {
    html! {
        form.answer method="post" action={ "/approvals/" (encoded(&request.hold)) } {
            (carried(visitor))
            label for="reason" { "Reason" span.quiet { " (kept in the record)" } }
            textarea #reason name="reason" rows="2" maxlength="2000" {}
            @if let Some(scope) = &request.scope {
                label.choice { input type="checkbox" name="run" value="1";
                    " Also everything alike of this run: up to " (scope.most.statements) " statements in " (scope.most.minutes) " min" }
            }
            div.buttons {
                button.primary type="submit" name="verdict" value="approve" { "Approve" }
                button.danger type="submit" name="verdict" value="deny" { "Deny" }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Answered {
    verdict: String,
    #[serde(default)]
    reason: String,
    run: Option<String>,
}

pub(super) async fn answer(
    State(site): State<Arc<Site>>,
    Path(hold): Path<String>,
    posted: Posted<Answered>,
) -> Result<Response, Oops> {
    let Posted { visitor, form } = posted;
    let reason = Some(form.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let run = form.run.is_some().then(RunAnswer::default);
    let (hub, person) = (&site.hub, &visitor.person);
    let stored = match form.verdict.as_str() {
        "approve" => acts::approve(hub, person, &hold, Answer { reason, run }).await?,
        "deny" => acts::deny(hub, person, &hold, Answer { reason, run: None }).await?,
        _ => return Err(Oops::bad_request("say approve or deny")),
    };
    Ok(Redirect::to(&format!("/approvals/{}", encoded(&stored.request.hold))).into_response())
}
