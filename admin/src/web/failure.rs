//! What goes wrong on a page, in words for whoever sees it. Details are for the log.

use axum::http::{HeaderName, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::html;

use super::layout;
use super::provider::encoded;
use crate::chain::NotRecorded;
use crate::serve::Failure;

#[derive(Debug)]
pub(crate) enum Oops {
    /// What the service says to everybody who asks it this.
    Failure(Failure),
    /// `back`: the page that was asked for.
    NotSignedIn { back: Option<String>, by_itself: bool },
    /// Signing in did not end well.
    SignIn,
}

impl Oops {
    pub(super) fn bad_request(text: &str) -> Self {
        Self::Failure(Failure::bad_request(text))
    }

    /// Nothing that a page of ours would send.
    pub(super) fn forged(why: &str) -> Self {
        tracing::warn!(why, "a request to the pages was refused");
        Self::Failure(Failure::forbidden(
            "This request did not come from a page of this session. Nothing was done. Reload the page, and try again.",
        ))
    }

    pub(super) fn outage() -> Self {
        let text =
            "Your issuer does not answer, so nobody can sign in just now. Whoever is signed in stays so.";
        Self::Failure(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }
}

impl From<Failure> for Oops {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<anyhow::Error> for Oops {
    fn from(error: anyhow::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl From<NotRecorded> for Oops {
    fn from(why: NotRecorded) -> Self {
        Self::Failure(why.into())
    }
}

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        match self {
            Self::NotSignedIn { by_itself: true, .. } => {
                let to_sign_in = [(HeaderName::from_static("hx-redirect"), "/sign-in")];
                (StatusCode::UNAUTHORIZED, AppendHeaders(to_sign_in)).into_response()
            }
            Self::NotSignedIn { back: Some(back), .. } if back != "/" => {
                Redirect::to(&format!("/sign-in?to={}", encoded(&back))).into_response()
            }
            Self::NotSignedIn { .. } => Redirect::to("/sign-in").into_response(),
            Self::SignIn => {
                let body = html! {
                    p { "You could not be signed in. This happens when a sign-in takes longer than ten minutes, or was begun \
                         in another tab or browser." }
                    p { a.button.primary href="/sign-in" { "Begin again" } }
                    p.quiet { "If it goes on, whoever runs Weir finds the reason in its log." }
                };
                (StatusCode::FORBIDDEN, layout::door("Not signed in", &body)).into_response()
            }
            Self::Failure(Failure { status, text }) => {
                let title = match status {
                    StatusCode::FORBIDDEN => "Not allowed",
                    StatusCode::NOT_FOUND => "Not found",
                    _ => "That did not work",
                };
                let body = html! {
                    p { (text) }
                    p { a.button href="/" { "To the overview" } }
                };
                (status, layout::door(title, &body)).into_response()
            }
        }
    }
}
