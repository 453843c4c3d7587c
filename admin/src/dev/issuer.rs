//! The embedded OIDC issuer: discovery and keys over loopback HTTP, and sign-in for the sample's people ([`super::people`]).
//! Machines' tokens are signed by [`super::token`] from the same directory: no request can ask for one.
//!
//! The key file is read for each answer: replace it, and the keys have rotated.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::keys::{read_secret, write_secret};

const KEY: &str = "key.pk8";
/// Its `iss`, for who mints tokens without asking.
const URL: &str = "url";

/// The issuer of a directory.
pub(crate) struct DevIssuer {
    dir: PathBuf,
}

impl DevIssuer {
    /// Opens a directory, making its key where there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let key = dir.join(KEY);
        if !key.exists() {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| anyhow!("the system gave no randomness"))?;
            write_secret(&key, pkcs8.as_ref())?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn key(&self) -> Result<EcdsaKeyPair> {
        let bytes = read_secret(&self.dir.join(KEY))?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes, &SystemRandom::new())
            .map_err(|error| anyhow!("{}: {error}", self.dir.join(KEY).display()))
    }

    pub(super) fn url(&self) -> Result<String> {
        let path = self.dir.join(URL);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}: is `weir-admin dev issuer` or `dev up` running?", path.display())
        })?;
        Ok(text.trim().to_owned())
    }

    /// Names the key by its own hash, so that a rotated key has another name.
    pub(super) fn key_id(key: &EcdsaKeyPair) -> String {
        let hash = digest(&SHA256, key.public_key().as_ref());
        hex::encode(hash.as_ref().get(..8).unwrap_or_default())
    }

    fn key_set(&self) -> Result<Value> {
        let key = self.key()?;
        let point = key.public_key().as_ref();
        let coordinates = point.get(1..33).zip(point.get(33..65)).context("public key is no P-256 point")?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": Self::key_id(&key),
            "x": encode(coordinates.0), "y": encode(coordinates.1),
        }]}))
    }

    /// Listens; answers the issuer's URL and what serves it for ever.
    pub(crate) async fn serve(self, listener: TcpListener) -> Result<(String, impl Future<Output = ()>)> {
        let url = format!("http://{}", listener.local_addr()?);
        let path = self.dir.join(URL);
        std::fs::write(&path, &url).with_context(|| format!("cannot write {}", path.display()))?;
        let document = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/jwks"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        let people = super::people::router(self.dir.clone(), url.clone());
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(move || async move { Json(document) }))
            .route("/jwks", get(keys))
            .with_state(std::sync::Arc::new(self))
            .merge(people);
        let serving = async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "development issuer stopped");
            }
        };
        Ok((url, serving))
    }
}

async fn keys(State(issuer): State<std::sync::Arc<DevIssuer>>) -> Result<Json<Value>, StatusCode> {
    issuer.key_set().map(Json).map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "no key set");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

/// `dev issuer`: serves until it is ended.
pub(crate) async fn run(dir: &Path, listen: &str) -> Result<()> {
    let listener = TcpListener::bind(super::loopback(listen)?).await.context("cannot listen")?;
    let (url, serving) = DevIssuer::open(dir)?.serve(listener).await?;
    say!("{url}");
    tokio::select! {
        () = serving => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
