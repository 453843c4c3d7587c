//! `ssh cert`: a user certificate for a key of the caller's, against its token.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::cli::SshCert;
use crate::serve::{CertificateAsk, Issued};
use crate::service::Service;
use crate::table;

/// # Errors
/// The caller's: a key that cannot be read, or admin's refusal.
pub(crate) async fn run(arg: SshCert) -> Result<()> {
    let public_key = std::fs::read_to_string(&arg.key)
        .with_context(|| format!("cannot read the public key {}", arg.key.display()))?;
    let Some(stem) = arg.key.to_str().and_then(|path| path.strip_suffix(".pub")) else {
        bail!("{}: give the public key, whose name ends in .pub", arg.key.display());
    };
    let out = PathBuf::from(format!("{stem}-cert.pub"));
    let ask = CertificateAsk {
        public_key,
        connections: arg.connections,
        ttl_s: arg.ttl.as_secs(),
        force_command: arg.force_command,
        source_address: arg.source_address,
    };
    let issued: Issued = Service::new(&arg.service)?.post(&["ssh", "certificates"], &ask).await?;
    std::fs::write(&out, format!("{}\n", issued.certificate))
        .with_context(|| format!("cannot write {}", out.display()))?;
    let until = table::time(issued.expires_unix_s.saturating_mul(1_000));
    say!("{}: for {}, until {until}", out.display(), issued.connections.join(", "));
    Ok(())
}
