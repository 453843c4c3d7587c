//! Live pages: a stream of server-sent events that say no more than that something changed. What changed is asked for by the
//! page, with the rights of its visitor, like any other page.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use tokio::sync::mpsc;

use super::Site;
use super::failure::Oops;
use super::visit::{self, Visitor};
use crate::serve::{Failure, stop};

/// Streams at once; an open page more than that shows what it showed.
pub(super) const MAX_STREAMS: usize = 512;
/// Changes within this time are one.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// How often it is looked whether the visitor is still one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}

pub(super) async fn events(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    _visitor: Visitor,
) -> Result<Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>>, Oops> {
    let Ok(place) = site.streams.clone().try_acquire_owned() else {
        let text = "too many pages are open; reload this one to see what is new";
        return Err(Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, text).into());
    };
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            () = tell(&site, &headers, &send) => {}
            // An open page must not hold up the service's end.
            () = stop() => {}
        }
    });
    Ok(Sse::new(Events(receive)).keep_alive(KeepAlive::default()))
}

/// Until the page is closed or its visitor is none any more.
async fn tell(site: &Site, headers: &HeaderMap, send: &mpsc::Sender<Event>) {
    // Browsers pass on no event without data.
    let changed = || Event::default().event("changed").data("look");
    let mut stirs = site.hub.stirs();
    // Something may have changed between the page and this stream: it looks once as soon as it listens.
    stirs.mark_changed();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        let stirred = tokio::select! {
            stirred = stirs.changed() => { if stirred.is_err() { return; } true }
            _ = looks.tick() => false,
            () = send.closed() => return,
        };
        if !matches!(visit::visitor(site, headers, false).await, Ok(Some(_))) {
            // The page asks once more, and is told to sign in.
            _ = send.send(changed()).await;
            return;
        }
        if stirred {
            if send.send(changed()).await.is_err() {
                return;
            }
            tokio::time::sleep(AT_MOST_EVERY).await;
        }
    }
}
