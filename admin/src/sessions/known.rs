//! `sessions catalogue`: recorded sessions as the admin service lists them. It reads no segment and needs no auditor's key.

use std::process::ExitCode;

use anyhow::Result;

use super::catalogue::{self, Summary};
use super::filter::{ListFilter, SessionFilter};
use crate::cli::ServiceTableArg;
use crate::service::Service;

/// Page by page, the newest first, until there are as many as were asked for.
pub(crate) async fn list_at_service(
    arg: &ServiceTableArg,
    filter: &SessionFilter,
    listed: &ListFilter,
) -> Result<ExitCode> {
    let service = Service::new(&arg.service)?;
    let most = listed.at_most().map_or(usize::MAX, |most| most as usize);
    let mut before = listed.before;
    // The newest page first, each in the order its sessions began.
    let mut pages: Vec<Vec<Summary>> = Vec::new();
    let mut count = 0;
    while count < most {
        let wanted = (most - count).min(ListFilter::PAGE as usize);
        let page: Vec<Summary> = {
            let query = asked(filter, listed, before, wanted);
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            service.get(&["catalogue"], &query).await?
        };
        before = page.first().map(|first| first.session);
        count += page.len();
        let is_last = page.len() < wanted;
        pages.push(page);
        if is_last {
            break;
        }
    }
    let sessions: Vec<Summary> = pages.into_iter().rev().flatten().collect();
    catalogue::print(&sessions, listed, true, arg.json)
}

fn asked(
    filter: &SessionFilter,
    listed: &ListFilter,
    before: Option<weir_segment::SessionId>,
    newest: usize,
) -> Vec<(&'static str, String)> {
    let texts = [
        ("subject", filter.subject.clone()),
        ("connection", filter.connection.clone()),
        ("role", filter.role.clone()),
        ("issuer", filter.issuer.clone()),
        ("run", filter.run.clone()),
        ("since", filter.since.map(|time| time.to_string())),
        ("until", filter.until.map(|time| time.to_string())),
        ("state", listed.state.clone()),
        ("with", listed.with.clone()),
        ("before", before.map(|session| session.to_string())),
        ("newest", Some(newest.to_string())),
    ];
    texts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
