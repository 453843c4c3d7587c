//! The command line's side of the admin API.

use anyhow::{Context as _, Result, anyhow, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::ServiceArg;
use crate::jwks;

/// The admin service, and who asks.
pub(crate) struct Service {
    client: Client,
    url: Url,
    token: String,
}

impl Service {
    /// # Errors
    /// The caller's: no readable token file, or a URL that is none.
    pub(crate) fn new(arg: &ServiceArg) -> Result<Self> {
        let token = std::fs::read_to_string(&arg.token_file)
            .with_context(|| format!("cannot read the token file {}", arg.token_file.display()))?;
        let url = Url::parse(&arg.url).with_context(|| format!("{:?} is no URL", arg.url))?;
        Ok(Self { client: jwks::client(None)?, url, token: token.trim().to_owned() })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T> {
        let mut url = self.path(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.answer(self.client.request(Method::GET, url)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T> {
        self.answer(self.client.request(Method::POST, self.path(path)?).json(body)).await
    }

    fn path(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} cannot have a path", self.url))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let unreachable = || format!("cannot reach the admin service at {}", self.url);
        let answer = request.bearer_auth(&self.token).send().await.with_context(unreachable)?;
        let status = answer.status();
        if status != StatusCode::OK {
            let body: serde_json::Value = answer.json().await.unwrap_or_default();
            let text = body.get("detail").and_then(serde_json::Value::as_str);
            bail!("{}", text.map_or_else(|| format!("admin answered {status}"), str::to_owned));
        }
        answer.json().await.context("admin's answer is not understood; are both of one version?")
    }
}
