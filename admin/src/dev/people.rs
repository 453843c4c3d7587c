//! The development issuer's sign-in for people: a page that picks one of the sample's, and the code and token that come of it.
//! Loopback only, like everything of the issuer's; nobody is asked for a password, so nobody should be able to reach it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use axum::extract::{Form, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{DOCTYPE, html};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;
use serde_json::{Value, json};

use super::token;
use crate::cli::TokenArgs;

/// Who may be picked: subject, name, groups, what they are for.
const PEOPLE: [(&str, &str, &[&str], &str); 5] = [
    (
        "root",
        "Robin Root",
        &["weir-administrators", "weir-auditors"],
        "administrator and auditor: sees and changes everything",
    ),
    ("olivia", "Olivia Okafor", &["privacy-officers"], "privacy officer: answers held commands"),
    ("oscar", "Oscar Ortiz", &["privacy-officers"], "another privacy officer"),
    ("ada", "Ada Auditor", &["weir-auditors"], "auditor: sees everything, changes nothing"),
    ("vera", "Vera Viewer", &["engineering"], "viewer: sees what goes on, but no command"),
];
/// Codes that wait to be exchanged at most, and for how long.
const MAX_CODES: usize = 256;
const CODE_LIVES: Duration = Duration::from_secs(60);
const TOKEN_TTL: Duration = Duration::from_secs(600);

/// What a client asks with.
#[derive(Clone, Debug, Deserialize)]
struct Asked {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    #[serde(default)]
    person: Option<String>,
}

struct Code {
    asked: Asked,
    person: usize,
    made: Instant,
}

struct Issuing {
    dir: PathBuf,
    url: String,
    codes: Mutex<HashMap<String, Code>>,
}

/// Where people sign in, and where their codes are exchanged.
pub(super) fn router(dir: PathBuf, url: String) -> Router {
    let issuing = Issuing { dir, url, codes: Mutex::default() };
    Router::new()
        .route("/authorize", get(authorize).post(picked))
        .route("/token", axum::routing::post(exchange))
        .with_state(Arc::new(issuing))
}

/// Only to this machine: the issuer knows no client by name.
fn is_loopback(uri: &str) -> bool {
    reqwest::Url::parse(uri).is_ok_and(|url| {
        matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) && url.fragment().is_none()
    })
}

fn sound(asked: &Asked) -> Result<(), &'static str> {
    if !is_loopback(&asked.redirect_uri) {
        return Err("redirect_uri is not on this machine");
    }
    if asked.code_challenge_method != "S256" || asked.code_challenge.len() != 43 {
        return Err("PKCE with S256 is required");
    }
    Ok(())
}

async fn authorize(Query(asked): Query<Asked>) -> Response {
    if let Err(why) = sound(&asked) {
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    let style = "body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:34rem;padding:0 1rem;color-scheme:light dark}\
                 button{font:inherit;display:block;width:100%;text-align:left;padding:.8rem 1rem;margin:.5rem 0;border-radius:10px;\
                 border:1px solid #789;cursor:pointer}small{display:block}";
    let hash = base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, style.as_bytes()));
    // No form-action: what comes of the form is a redirect to the client.
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Who are you?" }
                style { (maud::PreEscaped(style)) }
            }
            body { main {
                h1 { "Who are you?" }
                p { "The development issuer signs in whoever you say you are. Pick one of the sample's people." }
                form method="post" action="/authorize" {
                    @for (name, value) in [
                        ("client_id", &asked.client_id), ("redirect_uri", &asked.redirect_uri), ("state", &asked.state),
                        ("nonce", &asked.nonce), ("code_challenge", &asked.code_challenge),
                        ("code_challenge_method", &asked.code_challenge_method),
                    ] { input type="hidden" name=(name) value=(value); }
                    @for (subject, name, _, what) in PEOPLE {
                        button type="submit" name="person" value=(subject) { strong { (name) } small { (what) } }
                    }
                }
            } }
        }
    };
    ([(CONTENT_SECURITY_POLICY, policy.as_str()), (CACHE_CONTROL, "no-store")], page).into_response()
}

async fn picked(State(issuing): State<Arc<Issuing>>, Form(asked): Form<Asked>) -> Response {
    if let Err(why) = sound(&asked) {
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    let person = PEOPLE.iter().position(|(subject, ..)| Some(*subject) == asked.person.as_deref());
    let (Some(person), Ok(mut to)) = (person, reqwest::Url::parse(&asked.redirect_uri)) else {
        return (StatusCode::BAD_REQUEST, "nobody of the sample").into_response();
    };
    let Ok(code) = word() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    to.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked.state)
        .append_pair("iss", &issuing.url);
    let mut codes = issuing.codes.lock().unwrap_or_else(PoisonError::into_inner);
    codes.retain(|_, code| code.made.elapsed() < CODE_LIVES);
    if codes.len() >= MAX_CODES {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many codes wait").into_response();
    }
    codes.insert(code, Code { asked, person, made: Instant::now() });
    Redirect::to(to.as_str()).into_response()
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: String,
    client_id: String,
}

async fn exchange(
    State(issuing): State<Arc<Issuing>>,
    _headers: HeaderMap,
    Form(asked): Form<Exchange>,
) -> Response {
    let refused = || (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response();
    let code = issuing.codes.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked.code);
    let Some(code) = code.filter(|code| code.made.elapsed() < CODE_LIVES) else { return refused() };
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, asked.code_verifier.as_bytes()));
    let same = asked.grant_type == "authorization_code"
        && challenge == code.asked.code_challenge
        && asked.redirect_uri == code.asked.redirect_uri
        && asked.client_id == code.asked.client_id;
    if !same {
        return refused();
    }
    match id_token(&issuing, &code) {
        Ok(token) => {
            let answer =
                json!({ "access_token": "none", "token_type": "Bearer", "expires_in": 1, "id_token": token });
            ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "no token");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn id_token(issuing: &Issuing, code: &Code) -> Result<String> {
    let (subject, name, groups, _) = PEOPLE.get(code.person).ok_or_else(|| anyhow!("nobody"))?;
    let claim = |name: &str, value: &str| format!("{name}={}", Value::String(value.to_owned()));
    token::mint(&TokenArgs {
        dir: issuing.dir.clone(),
        sub: (*subject).to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ttl: TOKEN_TTL,
        aud: code.asked.client_id.clone(),
        claims: vec![claim("nonce", &code.asked.nonce), claim("name", name)],
    })
}

fn word() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gave no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_to_this_machine_alone() {
        for good in ["http://localhost:8444/sign-in/callback", "https://127.0.0.1/x", "http://[::1]:1/"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "https://evil.example/",
            "http://localhost.evil.example/",
            "http://localhost@evil.example/",
            "javascript:1",
            "/x",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
