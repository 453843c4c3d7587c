//! Who the visitor is here: name, groups, and what these let them do.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};

use super::visit::Visitor;
use super::{Site, layout};

pub(super) async fn page(State(site): State<Arc<Site>>, visitor: Visitor) -> Markup {
    let admin = &site.hub.config.admin;
    let identity = &visitor.person.identity;
    let roles = visitor.person.roles.names(admin.approvers.is_some());
    let body = html! {
        h1 { "You" }
        section.card {
            dl {
                dt { "Name" } dd { (visitor.name) }
                dt { "Subject" } dd { code { (identity.subject) } }
                dt { "Issuer" } dd { code { (identity.issuer) } }
                dt { "Groups" } dd { @if identity.groups.is_empty() { "none" } @else { (identity.groups.join(", ")) } }
                dt { "Roles" } dd { @if roles.is_empty() { "none" } @else { (roles.join(", ")) } }
            }
            @if roles.is_empty() {
                p.quiet { "Your groups give you no role here. You may answer held commands that a rule leaves to one of your \
                           groups; for more, ask whoever runs Weir." }
            }
        }
    };
    layout::page(&visitor, "/me", "You", &body)
}
