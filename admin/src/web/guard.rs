//! What holds for every page, before and after its handler: it was asked for by our own name, nothing is changed on another
//! site's behalf, and browsers are told to run and load nothing but our own files.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::Site;
use super::failure::Oops;

/// Our own files alone: no inline script or style, no frame, no plug-in, no form to anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const FIELDS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: forms would then come without their origin.
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
];

pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut answer = match admit(&site, &request) {
        Ok(()) => next.run(request).await,
        Err(answer) => *answer,
    };
    let headers = answer.headers_mut();
    for (name, value) in FIELDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if site.origin.secure {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    answer
}

fn admit(site: &Site, request: &Request) -> Result<(), Box<Response>> {
    let (headers, reads) = (request.headers(), matches!(*request.method(), Method::GET | Method::HEAD));
    if field(headers, &HOST) != Some(&site.origin.host) {
        // By another name cookies would be another's; so that `127.0.0.1` works where `localhost` was meant.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let elsewhere = Oops::forged("asked for by another name");
        return Err(Box::new(if reads && path.starts_with('/') {
            Redirect::temporary(&format!("{}{path}", site.origin.url)).into_response()
        } else {
            elsewhere.into_response()
        }));
    }
    if reads {
        return Ok(());
    }
    let from = field(headers, &ORIGIN);
    let told = field(headers, &HeaderName::from_static("sec-fetch-site"));
    if from == Some(&site.origin.url) && told.is_none_or(|told| told == "same-origin") {
        Ok(())
    } else {
        Err(Box::new(Oops::forged("sent by another site's page").into_response()))
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
