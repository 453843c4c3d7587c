//! Who may come, who is here, and who is turned away; and the connections that they may come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use weir_control::{Grant, Revocation, UpstreamAddress, UpstreamTls};

use super::Site;
use super::failure::Oops;
use super::layout::{self, carried};
use super::visit::{Posted, Visitor};
use super::words::{ago, count, line, plain};
use crate::serve::{Revoke, acts};

pub(super) async fn identities(State(site): State<Arc<Site>>, visitor: Visitor) -> Result<Markup, Oops> {
    let live = acts::live(&site.hub, &visitor.person).await?;
    let revocations = acts::revocations(&site.hub, &visitor.person).await?;
    let mut here: BTreeMap<(&str, &str), (u64, Vec<&str>)> = BTreeMap::new();
    for one in &live {
        let place = here.entry((&one.issuer, &one.subject)).or_default();
        place.0 += 1;
        if !place.1.contains(&one.connection.as_str()) {
            place.1.push(&one.connection);
        }
    }
    let body = html! {
        h1 { "Identities" }
        section aria-labelledby="here" {
            h2 #here { "Connected now" }
            @if here.is_empty() { p.empty { "Nobody is connected." } } @else {
                table.list {
                    thead { tr { th scope="col" { "Subject" } th scope="col" { "Issuer" } th scope="col" { "Sessions" } th scope="col" { "Connections" } } }
                    tbody { @for ((issuer, subject), (sessions, connections)) in &here { tr {
                        td data-label="Subject" { strong { (line(subject)) } }
                        td data-label="Issuer" { (line(issuer)) }
                        td data-label="Sessions" { (sessions) }
                        td data-label="Connections" { (line(&connections.join(", "))) }
                    } } }
                }
            }
        }
        @if visitor.person.roles.administrator { (revoke_form(&visitor, &site)) }
        section aria-labelledby="revoked" {
            h2 #revoked { "Turned away" }
            @if revocations.is_empty() { p.empty { "No identity and no token is revoked." } } @else {
                ul { @for one in &revocations { li { (revocation(one)) } } }
            }
        }
    };
    Ok(layout::page(&visitor, "/identities", "Identities", &body))
}

fn revocation(one: &Revocation) -> Markup {
    html! {
        @match one {
            Revocation::Subject { issuer, subject, before_unix_ms } => {
                strong { (plain(subject)) } " of " (plain(issuer)) ": every token from before " (ago(*before_unix_ms))
            }
            Revocation::Token { issuer, token_id } => { "Token " code { (plain(token_id)) } " of " (plain(issuer)) }
        }
    }
}

fn revoke_form(visitor: &Visitor, site: &Site) -> Markup {
    let mut issuers: Vec<String> = site.hub.config.issuer_names();
    issuers.push(site.provider.config.issuer.clone());
    issuers.sort();
    issuers.dedup();
    html! {
        section.card aria-labelledby="revoke" {
            h2 #revoke { "Turn an identity away" }
            p.quiet { "Its live sessions end within a second, and no token that it was given until now opens another." }
            form.answer method="post" action="/identities/revoke" {
                (carried(visitor))
                label for="issuer" { "Issuer" }
                select #issuer name="issuer" { @for issuer in &issuers { option value=(issuer) { (plain(issuer)) } } }
                label for="subject" { "Subject" }
                input #subject name="subject" required maxlength="500" autocomplete="off";
                label for="reason" { "Reason" }
                input #reason name="reason" required maxlength="500" autocomplete="off";
                div.buttons { button.danger type="submit" { "Turn away" } }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct TurnAway {
    issuer: String,
    subject: String,
    reason: String,
}

pub(super) async fn revoke(
    State(site): State<Arc<Site>>,
    posted: Posted<TurnAway>,
) -> Result<Response, Oops> {
    let Posted { visitor, form: TurnAway { issuer, subject, reason } } = posted;
    let revoke = Revoke { issuer, subject: Some(subject), token: None, reason };
    acts::revoke(&site.hub, &visitor.person, revoke).await?;
    Ok(Redirect::to("/identities").into_response())
}

pub(super) async fn connections(State(site): State<Arc<Site>>, visitor: Visitor) -> Result<Markup, Oops> {
    let access = acts::access(&site.hub, &visitor.person).await?;
    let live = acts::live(&site.hub, &visitor.person).await?;
    let body = html! {
        h1 { "Connections" }
        @if access.connections.is_empty() {
            div.empty {
                h2 { "Nothing is protected yet" }
                p { "Write connections, roles and grants into " code { (site.hub.config.admin.access.display().to_string()) } ", see what would change, \
                     then put it in force:" }
                pre.command { code { "weir-admin plan\nweir-admin apply" } }
            }
        }
        @for connection in &access.connections {
            section.card {
                h2 { (line(&connection.name)) }
                dl {
                    dt { "Protocol" } dd { (format!("{:?}", connection.protocol).to_lowercase()) }
                    dt { "Upstream" } dd { code { (upstream(&connection.upstream)) } }
                    dt { "TLS" } dd { @match &connection.tls { UpstreamTls::Off => "off", UpstreamTls::VerifyFull { .. } => "verified" } }
                    dt { "Recorded" } dd { (format!("{:?}", connection.record).to_lowercase()) }
                    dt { "Live" } dd { (count(live.iter().filter(|one| one.connection == connection.name).count() as u64, "session")) }
                }
                h3 { "Roles and who has them" }
                ul { @for role in access.roles.iter().filter(|role| role.connection == connection.name) {
                    li { strong { (line(&role.name)) } ": "
                        @let grants: Vec<&Grant> = access.grants.iter().filter(|grant| grant.connection == connection.name && grant.role == role.name).collect();
                        @if grants.is_empty() { span.quiet { "nobody" } }
                        @for (at, grant) in grants.iter().enumerate() { @if at > 0 { "; " } (granted(grant)) }
                    }
                } }
            }
        }
    };
    Ok(layout::page(&visitor, "/connections", "Connections", &body))
}

fn granted(grant: &Grant) -> Markup {
    html! {
        @if !grant.groups.is_empty() { "groups " (line(&grant.groups.join(", "))) }
        @if !grant.subjects.is_empty() { " subjects " (line(&grant.subjects.join(", "))) }
        @if let Some(issuer) = &grant.issuer { " of " (line(issuer)) }
    }
}

fn upstream(address: &UpstreamAddress) -> String {
    match address {
        UpstreamAddress::Tcp { host, port } => format!("{host}:{port}"),
        UpstreamAddress::Unix { path } => plain(path),
    }
}
