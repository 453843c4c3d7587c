//! `dev up`: the whole appliance in one directory, as children of this process, with sample upstreams.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

use super::children::{Children, End, command, run};
use super::files::Layout;
use super::issuer::DevIssuer;
use super::ports::Ports;
use super::postgres::{Passwords, SamplePostgres};
use super::ready::{self, HttpProbe, PgProbe};
use super::{sample_http, token, tour};
use crate::authority::Authority;
use crate::cli::{TokenArgs, UpArgs};

const POLICY: &str = include_str!("../../demo/policy/clinic.toml");
const ACCESS: &str = include_str!("../../demo/access.toml");
const CONFIG: &str = include_str!("../../demo/weir.toml");
const PROGRAMS: [&str; 4] = ["weir-admin", "weir-dataplane", "weir-policy", "weir-recorder"];

/// Long enough to look around in.
const TOKEN_TTL: std::time::Duration = std::time::Duration::from_secs(12 * 3600);

/// Who is who in the sample: file name, subject, groups, further claims.
const PEOPLE: [(&str, &str, &[&str], &[&str]); 6] = [
    ("job", "nightly-report", &["jobs"], &["run=run-1", "purpose=billing"]),
    ("analyst", "ann", &["analysts"], &["purpose=research"]),
    ("privileged", "pat", &["privileged"], &["purpose=maintenance"]),
    ("approver", "olivia", &["privacy-officers"], &[]),
    ("approver2", "oscar", &["privacy-officers"], &[]),
    ("admin", "root", &["weir-administrators", "weir-auditors"], &[]),
];

struct PortNumbers {
    admin: u16,
    http: u16,
    metrics: u16,
    postgres: u16,
    upstream: u16,
}

type Variables = Vec<(&'static str, String)>;

/// Starts everything, writes the environment file, and stays until it is told to end.
pub(crate) async fn up(args: UpArgs) -> Result<ExitCode> {
    let bin = programs()?;
    let layout = Layout::prepare(&args.dir)?;
    let mut children = Children::new(&layout.path("logs"));
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let work = work(&args, &bin, &layout, &mut children);
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = term.recv() => Ok(ExitCode::SUCCESS),
        _ = hangup.recv() => Ok(ExitCode::SUCCESS),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    };
    eprintln!("stopping");
    children.stop();
    outcome
}

async fn work(args: &UpArgs, bin: &Path, layout: &Layout, children: &mut Children) -> Result<ExitCode> {
    let mut ports = Ports::new()?;
    let numbers = PortNumbers {
        admin: ports.take()?,
        http: ports.take()?,
        metrics: ports.take()?,
        postgres: ports.take()?,
        upstream: ports.take()?,
    };
    let issuer_listener = TcpListener::from_std(ports.listen()?)?;
    let (issuer, serving) = DevIssuer::open(&layout.path("issuer"))?.serve(issuer_listener).await?;
    tokio::spawn(serving);
    let passwords = Passwords { superuser: secret()?, clinic: secret()?, scratch: secret()? };
    let sample = Arc::new(SamplePostgres::new(layout, numbers.upstream, passwords)?);
    let authority = Authority::new("Weir development CA")?;
    let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let ca = layout.write("tls/ca.pem", &authority.pem)?;
    for name in ["listener", "upstream"] {
        authority.issue(&layout.path("tls"), name, &hosts)?;
    }
    // The slowest step by far: it goes on beside the rest.
    let (tls, initialising) = (layout.path("tls"), sample.clone());
    let initialised = spawn_blocking(move || initialising.initialise(&tls));
    let policy_key = policy_key(layout, bin)?;
    let compiled = spawn_blocking(policy_compilation(layout, bin)?);
    let http_listener = TcpListener::from_std(ports.listen()?)?;
    let http_upstream = http_listener.local_addr()?.port();
    let authorization = format!("Bearer {}", secret()?);
    tokio::spawn(sample_http::serve(http_listener, authorization.clone()));

    prepare(args, layout, &numbers, &issuer, &sample, http_upstream, &authorization, &policy_key)?;
    start(layout, bin, children, &sample, initialised, compiled).await?;
    let variables = check(layout, bin, children, &numbers, &sample, &ca).await?;
    let env = layout.environment(&variables)?;
    say!("ready: source {}", env.display());
    say!("in a browser: http://localhost:{} (sign in as one of the sample's people)", numbers.admin);
    let code = match &args.tour {
        None => None,
        Some(script) => Some(tour::run(children, script, &variables).await?),
    };
    match code {
        Some(code) if !args.keep => Ok(code),
        _ => stay(children).await,
    }
}

/// Until the caller drops it.
async fn stay(children: &mut Children) -> Result<ExitCode> {
    loop {
        children.revive()?;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// The folder this program is in holds the others.
fn programs() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let bin = here.parent().context("this program is nowhere")?.to_owned();
    for name in PROGRAMS {
        if !bin.join(name).exists() {
            bail!("{} is missing: build it first (`make build`)", bin.join(name).display());
        }
    }
    Ok(bin)
}

/// 32 hex digits.
fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system gave no randomness"))?;
    Ok(hex::encode(bytes))
}

/// Writes keys, configuration, access, policy and tokens.
#[expect(clippy::too_many_arguments, reason = "the one place where everything about the appliance meets")]
fn prepare(
    args: &UpArgs,
    layout: &Layout,
    numbers: &PortNumbers,
    issuer: &str,
    sample: &SamplePostgres,
    http_upstream: u16,
    authorization: &str,
    policy_key: &str,
) -> Result<()> {
    layout.secret("secrets/clinic", &sample.passwords.clinic)?;
    layout.secret("secrets/scratch", &sample.passwords.scratch)?;
    layout.secret("secrets/clinic-api", authorization)?;
    let access = ACCESS
        .replace("@UPSTREAM_PORT@", &numbers.upstream.to_string())
        .replace("@UPSTREAM_SOCKET@", &sample.socket().display().to_string())
        .replace("@HTTP_UPSTREAM_PORT@", &http_upstream.to_string());
    layout.write("access/clinic.toml", &access)?;
    let config = CONFIG
        .replace("@CORES@", &args.cores.to_string())
        .replace("@POSTGRES_PORT@", &numbers.postgres.to_string())
        .replace("@HTTP_PORT@", &numbers.http.to_string())
        .replace("@METRICS_PORT@", &numbers.metrics.to_string())
        .replace("@ADMIN_PORT@", &numbers.admin.to_string())
        .replace("@POLICY_KEY@", policy_key)
        .replace("@ISSUER@", issuer)
        .replace("@DIR@", &layout.root.display().to_string());
    layout.write("weir.toml", &config)?;
    tokens(layout)
}

fn tokens(layout: &Layout) -> Result<()> {
    for (file, subject, groups, claims) in PEOPLE {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let args = TokenArgs {
            dir: layout.path("issuer"),
            sub: subject.to_owned(),
            groups: owned(groups),
            ttl: TOKEN_TTL,
            aud: "weir".to_owned(),
            claims: owned(claims),
        };
        layout.secret(&format!("tokens/{file}"), &token::mint(&args)?)?;
    }
    Ok(())
}

/// Makes the policy's signing key; answers its public half.
fn policy_key(layout: &Layout, bin: &Path) -> Result<String> {
    let key = layout.path("keys/policy.key");
    let mut keygen = command(&bin.join("weir-policy"), None, End::Terminate);
    keygen.arg("keygen").arg("--out").arg(&key);
    run(keygen, "weir-policy keygen")?;
    let public = std::fs::read_to_string(layout.path("keys/policy.key.pub"))?;
    Ok(public.trim().to_owned())
}

/// What compiles and signs the sample's policy.
fn policy_compilation(layout: &Layout, bin: &Path) -> Result<impl FnOnce() -> Result<()> + use<>> {
    layout.write("policy/clinic.toml", POLICY)?;
    let mut compile = command(&bin.join("weir-policy"), None, End::Terminate);
    compile.arg("compile").arg("--key").arg(layout.path("keys/policy.key"));
    compile.arg("--out").arg(layout.path("policy/current.bundle")).arg(layout.path("policy"));
    Ok(move || run(compile, "weir-policy compile").map(drop))
}

/// Starts everything, as far as possible at once.
async fn start(
    layout: &Layout,
    bin: &Path,
    children: &mut Children,
    sample: &SamplePostgres,
    initialised: JoinHandle<Result<()>>,
    compiled: JoinHandle<Result<()>>,
) -> Result<()> {
    let config = layout.path("weir.toml");
    let ours = |program: &str, arguments: &[&str]| {
        let mut command = command(&bin.join(program), None, End::Terminate);
        command.args(arguments).arg("--config").arg(&config);
        command
    };
    let mut keygen = command(&bin.join("weir-recorder"), None, End::Terminate);
    keygen.args(["keygen", "--out"]).arg(layout.path("keys/segment.key"));
    run(keygen, "weir-recorder keygen")?;
    // It makes the auditor's key that the recorder encrypts to.
    run(ours("weir-admin", &["init"]), "weir-admin init")?;
    children.start("recorder", ours("weir-recorder", &[]), End::Terminate)?;
    run(ours("weir-admin", &["apply"]), "weir-admin apply")?;
    children.start("admin", ours("weir-admin", &["serve"]), End::Terminate)?;
    initialised.await??;
    sample.start(children)?;
    let answers = async || if sample.answers() { Ok(()) } else { bail!("not yet") };
    ready::until(children, "the sample PostgreSQL", answers).await?;
    sample.seed()?;
    compiled.await??;
    children.start("dataplane", ours("weir-dataplane", &[]), End::Terminate)
}

/// Waits until stock clients get through; answers what they need to know.
async fn check(
    layout: &Layout,
    bin: &Path,
    children: &mut Children,
    numbers: &PortNumbers,
    sample: &SamplePostgres,
    ca: &Path,
) -> Result<Variables> {
    let token = |name: &str| std::fs::read_to_string(layout.path("tokens").join(name));
    for (database, role) in [("clinic", "job"), ("scratch", "privileged")] {
        let probe =
            PgProbe { port: numbers.postgres, database, role, token: token(role)?, ca: ca.to_owned() };
        ready::postgres(children, &probe).await?;
    }
    let http_url = format!("https://localhost:{}", numbers.http);
    ready::http(children, &HttpProbe::new(http_url.clone(), token("job")?, ca)?).await?;
    let path = |name: &str| layout.path(name).display().to_string();
    let passwords = &sample.passwords;
    Ok(vec![
        ("WEIR_DIR", layout.root.display().to_string()),
        ("WEIR_BIN", bin.display().to_string()),
        ("WEIR_CA", ca.display().to_string()),
        ("WEIR_CONFIG", path("weir.toml")),
        ("WEIR_LOGS", path("logs")),
        ("WEIR_ADMIN_URL", format!("http://127.0.0.1:{}", numbers.admin)),
        ("WEIR_WEB_URL", format!("http://localhost:{}", numbers.admin)),
        ("WEIR_ADMIN_TOKEN_FILE", path("tokens/admin")),
        ("WEIR_APPROVER_TOKEN_FILE", path("tokens/approver")),
        ("WEIR_APPROVER2_TOKEN_FILE", path("tokens/approver2")),
        ("WEIR_VERIFY_KEY", path("keys/segment.key.pub")),
        ("WEIR_AUDITOR_KEY", path("keys/auditor.key")),
        ("WEIR_SEGMENTS", path("segments")),
        ("WEIR_PG_HOST", "localhost".into()),
        ("WEIR_PG_PORT", numbers.postgres.to_string()),
        ("WEIR_PG_DATABASE", "clinic".into()),
        ("WEIR_PG_SCRATCH", "scratch".into()),
        ("WEIR_PG_UPSTREAM", sample.url("weir_clinic", &passwords.clinic, "clinic", ca)),
        ("WEIR_PG_SCRATCH_UPSTREAM", sample.url("weir_scratch", &passwords.scratch, "scratch", ca)),
        ("WEIR_PG_SUPERUSER", sample.url("postgres", &passwords.superuser, "clinic", ca)),
        ("WEIR_HTTP_URL", http_url),
        ("WEIR_METRICS_URL", format!("http://127.0.0.1:{}", numbers.metrics)),
        ("WEIR_DEV_ISSUER", path("issuer")),
        ("WEIR_TOKEN_JOB", path("tokens/job")),
        ("WEIR_TOKEN_ANALYST", path("tokens/analyst")),
        ("WEIR_TOKEN_PRIVILEGED", path("tokens/privileged")),
    ])
}
