//! `init`: where weir.toml is missing, a first node from a few answers: configuration, keys, certificate, policy, one
//! connection. Where it exists, what it names and is missing.
//!
//! weir.toml is written last: until then it may be run again. Keys and secrets that exist are kept.

mod answers;
mod missing;
mod place;
mod sources;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::authority::Authority;
use crate::cli::SetupArgs;
use crate::config::Config;
pub(crate) use missing::run as fill;

use answers::Answers;
use place::{Owner, Place};

const ISSUER_ROOTS: &str = "etc/weir/tls/issuer-ca.pem";
const UPSTREAM_ROOTS: &str = "etc/weir/tls/upstream-ca.pem";

pub(crate) async fn run(args: &SetupArgs) -> Result<()> {
    let path = args.root.as_ref().map_or_else(
        || args.config.config.clone(),
        |root| root.join(args.config.config.strip_prefix("/").unwrap_or(&args.config.config)),
    );
    if path.exists() {
        if args.issuer.is_some() || args.connection.is_some() {
            bail!("{} exists: edit it, or remove it for a new node", path.display());
        }
        return fill(&Config::load(&path)?).await;
    }
    let place = Place::new(args.root.as_deref())?;
    let answers = Answers::gather(args)?;
    make(&place, &answers, &path).await?;
    advise(&answers, args.root.is_none());
    Ok(())
}

async fn make(place: &Place, answers: &Answers, config: &Path) -> Result<()> {
    for (dir, owner, mode) in place::DIRS {
        place.dir(dir, owner, mode)?;
    }
    certificates(place, answers)?;
    roots(place, answers.upstream_roots.as_deref(), UPSTREAM_ROOTS)?;
    roots(place, answers.issuer_roots.as_deref(), ISSUER_ROOTS)?;
    let policy_key = place.path("etc/weir/keys/policy.key");
    let segment_key = place.path("etc/weir/keys/segment.key");
    if !policy_key.exists() {
        run_program("weir-policy", |it| it.arg("keygen").arg("--out").arg(&policy_key))?;
    }
    if !segment_key.exists() {
        run_program("weir-recorder", |it| it.arg("keygen").arg("--out").arg(&segment_key))?;
    }
    place.own("etc/weir/keys/segment.key", Owner::Recorder, 0o600)?;
    let trusted = std::fs::read_to_string(policy_key.with_extension("key.pub"))?;
    place.keep("etc/weir/secrets/password", answers.password.as_bytes(), Owner::Root, 0o600)?;
    let access = format!("etc/weir/access/{}.toml", answers.connection);
    place.keep(&access, sources::access(answers, place).as_bytes(), Owner::Group, 0o640)?;
    for template in &answers.templates {
        let (name, text) = template.file();
        place.keep(&format!("etc/weir/policy/{name}"), text.as_bytes(), Owner::Group, 0o640)?;
    }
    let bundle = place.path("var/lib/weir/policy/current.bundle");
    run_program("weir-policy", |it| {
        it.arg("compile").arg("--key").arg(&policy_key);
        it.arg("--out").arg(&bundle).arg(place.path("etc/weir/policy"))
    })?;
    place.own("var/lib/weir/policy/current.bundle", Owner::Group, 0o640)?;

    // Read from beside its place: it takes that only when everything it names is there.
    let text = sources::config(answers, place, trusted.trim())?;
    let next = config.with_extension("toml.next");
    std::fs::write(&next, text).with_context(|| format!("cannot write {}", next.display()))?;
    let loaded = Config::load(&next)?;
    fill(&loaded).await?;
    crate::apply::apply(&loaded).await?;
    place.own_all("var/lib/weir/admin", Owner::Admin)?;
    place.own("etc/weir/keys/auditor.key.pub", Owner::Group, 0o644)?;
    place.own_path(&next, Owner::Group, 0o640)?;
    std::fs::rename(&next, config).with_context(|| format!("cannot write {}", config.display()))
}

/// The listener's, given or of an authority of the node's own.
fn certificates(place: &Place, answers: &Answers) -> Result<()> {
    let (cert, key) = (place.path("etc/weir/tls/listener.pem"), place.path("etc/weir/tls/listener.key"));
    if let Some((given_cert, given_key)) = &answers.tls {
        for (from, to) in [(given_cert, &cert), (given_key, &key)] {
            std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    } else if !cert.exists() {
        let authority = Authority::new("Weir, authority of one node")?;
        std::fs::write(place.path("etc/weir/tls/ca.pem"), &authority.pem)?;
        authority.issue(&place.path("etc/weir/tls"), "listener", &answers.hosts)?;
    }
    place.own("etc/weir/tls/listener.key", Owner::DataPlane, 0o600)
}

/// Copies authorities to where Weir's programs can read them.
fn roots(place: &Place, from: Option<&Path>, to: &str) -> Result<()> {
    let Some(from) = from else { return Ok(()) };
    std::fs::copy(from, place.path(to)).with_context(|| format!("cannot copy {}", from.display()))?;
    place.own(to, Owner::Group, 0o644)
}

/// Runs a program that is installed beside this one.
fn run_program(name: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let here = std::env::current_exe()?;
    let mut command = Command::new(here.with_file_name(name));
    arguments(&mut command);
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn advise(answers: &Answers, installed: bool) {
    let host = answers.hosts.first().map_or("localhost", String::as_str);
    let (port, connection) = (answers.listen.port(), &answers.connection);
    if installed {
        say!("next:  systemctl enable --now weir.target");
    }
    let roots = if answers.tls.is_some() { "system" } else { "/etc/weir/tls/ca.pem" };
    say!(
        "then:  PGPASSWORD=$TOKEN psql \"host={host} port={port} dbname={connection} user=job sslmode=verify-full \
         sslrootcert={roots}\""
    );
    say!(
        "where $TOKEN is a token of {} for {:?} with the group {:?}",
        answers.issuer,
        answers.audience,
        answers.group
    );
}
