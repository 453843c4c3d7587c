//! Whether everything answers, really: a stock psql through the gateway to the sample database, and an HTTP exchange.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, StatusCode};

use super::children::{Children, run};

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A way through the gateway to Postgres.
pub(super) struct PgProbe {
    pub port: u16,
    pub database: &'static str,
    pub role: &'static str,
    pub token: String,
    pub ca: PathBuf,
}

impl PgProbe {
    fn try_once(&self) -> Result<()> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-A", "-t", "-c", "SELECT 1"])
            .env("PGHOST", "localhost")
            .env("PGHOSTADDR", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGDATABASE", self.database)
            .env("PGUSER", self.role)
            .env("PGPASSWORD", &self.token)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &self.ca)
            .env("PGCONNECT_TIMEOUT", "5");
        let answer = run(psql, "psql through the gateway")?;
        if answer != "1" {
            bail!("psql through the gateway answered {answer:?}");
        }
        Ok(())
    }
}

/// A way through the gateway to the HTTP upstream.
pub(super) struct HttpProbe {
    pub url: String,
    pub token: String,
    pub client: Client,
}

impl HttpProbe {
    pub(super) fn new(url: String, token: String, ca: &Path) -> Result<Self> {
        Ok(Self { url, token, client: crate::jwks::client(Some(ca))? })
    }

    async fn try_once(&self) -> Result<()> {
        let url = format!("{}/v1/patients/1", self.url);
        let request = self.client.get(&url).bearer_auth(&self.token).header("weir-role", "job");
        let answer = request.send().await?;
        if answer.status() != StatusCode::OK {
            bail!("{url} answered {}", answer.status());
        }
        Ok(())
    }
}

/// Waits until `condition` holds; a child that ends meanwhile is the answer at once.
pub(super) async fn until(
    children: &mut Children,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let Err(error) = condition().await else { return Ok(()) };
        children.check()?;
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("{what} did not answer within {PATIENCE:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) async fn postgres(children: &mut Children, probe: &PgProbe) -> Result<()> {
    until(children, probe.database, async || probe.try_once()).await
}

pub(super) async fn http(children: &mut Children, probe: &HttpProbe) -> Result<()> {
    until(children, "the HTTP connection", async || probe.try_once().await).await
}
