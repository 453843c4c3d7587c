//! What pages have in common: head, navigation, and the frame around what they say.

use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::visit::Visitor;

/// A page's place in the navigation: its path, its name, and whether it is for those alone who may see what goes on.
pub(super) const PLACES: [(&str, &str, bool); 7] = [
    ("/", "Overview", true),
    ("/approvals", "Approvals", false),
    ("/sessions", "Sessions", true),
    ("/policy", "Policy", true),
    ("/identities", "Identities", true),
    ("/connections", "Connections", true),
    ("/evidence", "Evidence", true),
];

/// htmx: nothing that the pages' policy would not let it do.
const HTMX: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"selfRequestsOnly":true,"historyCacheSize":0}"#;

fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        meta name="htmx-config" content=(HTMX);
        title { (title) " · Weir" }
        link rel="icon" type="image/svg+xml" href=(assets::path("weir.svg"));
        link rel="stylesheet" href=(assets::path("weir.css"));
        script src=(assets::path("htmx.min.js")) defer {}
        script src=(assets::path("sse.min.js")) defer {}
    }
}

/// A page for somebody who signed in.
pub(super) fn page(visitor: &Visitor, place: &str, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(title)) }
            body {
                a.skip href="#main" { "Skip to content" }
                header.bar {
                    a.brand href="/" { img src=(assets::path("weir.svg")) alt="" width="28" height="28"; "Weir" }
                    nav aria-label="Pages" {
                        ul {
                            @for (path, name, view) in PLACES {
                                @if !view || visitor.person.may_view() { li { a href=(path) aria-current=[(path == place).then_some("page")] { (name) } } }
                            }
                        }
                    }
                    div.person {
                        a.name href="/me" aria-current=[(place == "/me").then_some("page")] { (visitor.name) }
                        form method="post" action="/sign-out" {
                            (carried(visitor))
                            button.plain type="submit" { "Sign out" }
                        }
                    }
                }
                main #main tabindex="-1" { (body) }
            }
        }
    }
}

/// A page for whoever stands at the door.
pub(super) fn door(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(title)) }
            body.door {
                main #main {
                    div.card {
                        p.brand { img src=(assets::path("weir.svg")) alt="" width="36" height="36"; "Weir" }
                        h1 { (title) }
                        (body)
                    }
                }
            }
        }
    }
}

/// What every form has in it.
pub(super) fn carried(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}
