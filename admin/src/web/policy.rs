//! The policy in force: its rules, and what it decides of a command, and why.
//!
//! It is decided by the code of `weir-policy explain`, in a process of its own: this one has no pattern engine and no parser of
//! commands inside, and what somebody tries cannot reach the credentials.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::extract::State;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Site;
use super::failure::Oops;
use super::layout::{self, carried};
use super::visit::{Posted, Visitor};
use super::words::plain;
use crate::serve::acts;

const PROGRAM: &str = "weir-policy";
const PATIENCE: Duration = Duration::from_secs(20);
const NO_BUNDLE: &str =
    "weir.toml names no [policy] bundle on this node, so there is nothing to question here.";

#[derive(Default, Deserialize)]
pub(super) struct Tried {
    #[serde(default)]
    connection: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    groups: String,
    #[serde(default)]
    purpose: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    command: String,
}

/// As `weir-policy answer` has it.
#[derive(Deserialize)]
struct Told {
    generation: u64,
    verdict: String,
    rule: Option<String>,
    message: Option<String>,
    noted: Vec<String>,
    masks: Vec<String>,
    rules: Vec<Rule>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct Rule {
    rule: String,
    action: String,
    outcome: String,
    conditions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Told(Box<Told>),
    Refused { error: String },
}

pub(super) async fn page(State(site): State<Arc<Site>>, visitor: Visitor) -> Result<Markup, Oops> {
    shown(&site, &visitor, &Tried::default()).await
}

pub(super) async fn tried(State(site): State<Arc<Site>>, posted: Posted<Tried>) -> Result<Markup, Oops> {
    shown(&site, &posted.visitor, &posted.form).await
}

async fn shown(site: &Site, visitor: &Visitor, tried: &Tried) -> Result<Markup, Oops> {
    visitor.person.needs_view()?;
    let access = acts::access(&site.hub, &visitor.person).await?;
    let mut targets: Vec<(String, String)> =
        access.roles.iter().map(|role| (role.connection.clone(), role.name.clone())).collect();
    targets.sort();
    let answer = ask(site, tried).await?;
    let body = html! {
        h1 { "Policy" }
        section.card aria-labelledby="try" {
            h2 #try { "Try a command" }
            p.quiet { "It is decided as the gateway would decide it, and goes nowhere." }
            (form(visitor, tried, &targets))
        }
        @match &answer {
            Answer::Refused { error } => div.notice role="status" { strong { "No verdict. " } (plain(error)) },
            Answer::Told(told) => {
                @if !tried.command.is_empty() { (verdict(told)) }
                (rules(told, !tried.command.is_empty()))
            }
        }
    };
    Ok(layout::page(visitor, "/policy", "Policy", &body))
}

fn form(visitor: &Visitor, tried: &Tried, targets: &[(String, String)]) -> Markup {
    let chosen = format!("{}/{}", tried.connection, tried.role);
    let field = |name: &'static str, words: &'static str, hint: &'static str, value: &str| {
        html! { div { label for=(name) { (words) " " span.quiet { (hint) } } input id=(name) name=(name) value=(value) autocomplete="off"; } }
    };
    html! {
        form.try method="post" action="/policy" {
            (carried(visitor))
            div.fields {
                (field("connection", "Connection", "", if tried.connection.is_empty() { targets.first().map_or("", |target| target.0.as_str()) } else { &tried.connection }))
                (field("role", "Role", "", if tried.role.is_empty() { targets.first().map_or("", |target| target.1.as_str()) } else { &tried.role }))
                (field("groups", "Groups", "a, b", &tried.groups))
                (field("purpose", "Purpose", "", &tried.purpose))
                div { label for="protocol" { "As" } select #protocol name="protocol" {
                    option value="sql" { "SQL" }
                    option value="http" selected[tried.protocol == "http"] { "HTTP: GET host/path" }
                } }
            }
            @if !targets.is_empty() {
                p.quiet { "Known targets: " @for (at, (connection, role)) in targets.iter().enumerate() {
                    @if at > 0 { ", " } code.target aria-current=[(chosen == format!("{connection}/{role}")).then_some("true")] { (plain(connection)) "/" (plain(role)) }
                } }
            }
            label for="command" { "Command" }
            textarea.command #command name="command" rows="4" required maxlength="60000" spellcheck="false" placeholder="DELETE FROM visits" { (tried.command) }
            div.buttons { button.primary type="submit" { "Decide" } }
        }
    }
}

fn verdict(told: &Told) -> Markup {
    html! {
        section #verdict class={ "verdict " (told.verdict) } role="status" aria-labelledby="verdict-title" {
            h2 #verdict-title { @match told.verdict.as_str() { "allow" => "Allowed", "deny" => "Denied", "hold" => "Held", other => (other) }
                @if let Some(rule) = &told.rule { " by " code { (plain(rule)) } } }
            @if let Some(message) = &told.message { p { (plain(message)) } }
            @for line in told.noted.iter().chain(&told.notes) { p.quiet { (plain(line)) } }
            @if !told.masks.is_empty() {
                details { summary { "What would be masked of the answer (" (told.masks.len()) ")" }
                    ul { @for mask in &told.masks { li { code { (plain(mask)) } } } } }
            }
        }
    }
}

fn rules(told: &Told, decided: bool) -> Markup {
    html! {
        section aria-labelledby="rules" {
            h2 #rules { "Rules in force" }
            p.quiet { "Generation " (told.generation) ". All rules that match count: any that blocks wins, then any that holds. Change them \
                       in the policy's sources and compile with " code { "weir-policy" } "." }
            @if told.rules.is_empty() { p.empty { "The bundle has no rule: everything passes." } }
            ul.rules {
                @for rule in &told.rules {
                    li {
                        code { (plain(&rule.rule)) } " " span.badge.action { (plain(&rule.action)) }
                        @if decided {
                            " " span class={ "outcome " (rule.outcome.replace(' ', "-")) } { (rule.outcome) }
                            @if !rule.conditions.is_empty() {
                                details open[rule.outcome == "matched"] { summary { "Why" } ul { @for condition in &rule.conditions { li { (plain(condition)) } } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// # Errors
/// The host's: the program is not there, or says nothing in time.
async fn ask(site: &Site, tried: &Tried) -> anyhow::Result<Answer> {
    let Some(policy) = &site.hub.config.policy else {
        return Ok(Answer::Refused { error: NO_BUNDLE.to_owned() });
    };
    let what = match (tried.command.is_empty(), tried.protocol.as_str()) {
        (true, _) => json!({ "connect": "postgres" }),
        (false, "http") => json!({ "http": tried.command }),
        (false, _) => json!({ "sql": tried.command }),
    };
    let groups: Vec<&str> =
        tried.groups.split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
    let question = json!({
        "bundle": policy.bundle,
        "trusted_keys": policy.trusted_keys,
        "who": {
            "subject": "somebody", "groups": groups, "connection": tried.connection.trim(), "role": tried.role.trim(),
            "purpose": Some(tried.purpose.trim()).filter(|purpose| !purpose.is_empty()),
        },
        "what": what,
    });
    // A few at once: whoever clicks fast waits for themselves.
    let _place = site.questions.acquire().await.map_err(|_| anyhow!("the service ends"))?;
    let answered = tokio::time::timeout(PATIENCE, run(question.to_string().as_bytes())).await;
    let output = answered.map_err(|_| anyhow!("{PROGRAM} did not answer in time"))??;
    serde_json::from_slice(&output).with_context(|| format!("{PROGRAM} answered something else"))
}

async fn run(question: &[u8]) -> anyhow::Result<Vec<u8>> {
    // The program beside this one: never another of the same name.
    let program = std::env::current_exe()?.with_file_name(PROGRAM);
    let mut child = Command::new(&program)
        .arg("answer")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| program.display().to_string())?;
    let mut input = child.stdin.take().context("no standard input")?;
    let asking = async move {
        // One that ends early says why in its answer.
        _ = input.write_all(question).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), asking);
    Ok(output?.stdout)
}
