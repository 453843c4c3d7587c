//! What can be proved, and with which commands: the recording's checkpoints as they are kept here, out of the recorder's reach.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};

use super::Site;
use super::failure::Oops;
use super::layout;
use super::visit::Visitor;
use super::words::plain;
use crate::serve::acts;

pub(super) async fn page(State(site): State<Arc<Site>>, visitor: Visitor) -> Result<Markup, Oops> {
    let status = acts::status(&site.hub, &visitor.person).await?;
    let recording = &status.recording;
    let recorded = site.hub.config.recorder.is_some();
    let body = html! {
        h1 { "Evidence" }
        section.card aria-labelledby="checked" {
            h2 #checked { "The recording" }
            @if !recorded {
                p.notice { "weir.toml names no [recorder]: what people do here is not recorded." }
            }
            @match recording.newest {
                Some(newest) => p { "Segments up to number " strong { (newest) } " are sealed, and their signed checkpoints are kept here, where the recorder \
                                     cannot write: a recording that is cut short or written anew shows." },
                None => p { "No segment is sealed yet." }
            }
            @if recording.alarms.is_empty() {
                p.good { "Nothing contradicts them." }
            } @else {
                ul.health { @for alarm in &recording.alarms { li.bad { (plain(alarm)) } } }
            }
        }
        section.card aria-labelledby="verify" {
            h2 #verify { "Check it yourself" }
            p { "Whoever has the segments and the node's public key can check every byte, without trusting this page:" }
            pre.command tabindex="0" { code { "weir-admin sessions verify --key /etc/weir/segment.pub" } }
            p { "One event, with the proof that it was recorded, for somebody who may see nothing else:" }
            pre.command tabindex="0" { code { "weir-admin sessions prove SESSION --command 3 > command-3.proof" } }
        }
        section.card aria-labelledby="reports" {
            h2 #reports { "Reports" }
            p { "A report is made from segments alone, with an auditor's key: the same segments give the same bytes, and each statement has its \
                 proofs, or says that there is no evidence." }
            pre.command tabindex="0" { code { "weir-admin report nist --help\nweir-admin report hipaa --help\nweir-admin reconcile --help" } }
        }
    };
    Ok(layout::page(&visitor, "/evidence", "Evidence", &body))
}
