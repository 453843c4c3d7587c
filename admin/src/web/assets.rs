//! The pages' files, compiled in. Each is asked for by a name that holds its content's hash, and may be kept for ever.
//!
//! `htmx.min.js` and `sse.min.js` are the npm packages htmx.org 2.0.11 and htmx-ext-sse 2.2.4 as published (0BSD,
//! `assets/LICENSE-htmx`); `make web-assets` fetches them anew.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const ASSETS: [Asset; 4] = [
    Asset { name: "htmx.min.js", kind: SCRIPT, text: include_str!("assets/htmx.min.js") },
    Asset { name: "sse.min.js", kind: SCRIPT, text: include_str!("assets/sse.min.js") },
    Asset { name: "weir.css", kind: "text/css; charset=utf-8", text: include_str!("assets/weir.css") },
    Asset { name: "weir.svg", kind: "image/svg+xml", text: include_str!("assets/weir.svg") },
];

/// Where each is, in their order.
static PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let path = |asset: &Asset| {
        let hash = hex::encode(digest(&SHA256, asset.text.as_bytes()));
        format!("/assets/{}-{}", hash.get(..12).unwrap_or_default(), asset.name)
    };
    ASSETS.iter().map(path).collect()
});

/// Where the file of this name is.
pub(super) fn path(name: &str) -> &'static str {
    let found = PATHS.iter().zip(&ASSETS).find(|(_, asset)| asset.name == name);
    found.map_or("", |(path, _)| path)
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let found = PATHS.iter().zip(&ASSETS).find(|(path, _)| path.strip_prefix("/assets/") == Some(&name));
    match found {
        Some((_, asset)) => {
            let kept = "public, max-age=31536000, immutable";
            ([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, kept)], asset.text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
