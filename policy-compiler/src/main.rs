//! `weir-policy`: make a signing key, check and test policy sources, compile them into a bundle, explain a decision.
//!
//! Exit codes: 0 done, 1 refused or found wanting, 2 usage, 3 `diff` found that something would change.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use weir_policy::{About, Policy, Timestamp};
use weir_policy_compiler as compiler;
use weir_policy_compiler::{Problem, Source, What, Who};

#[derive(Parser)]
#[command(name = "weir-policy", version, about = "Compile and question Weir policies")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Check sources: every error at once, shadowed rules, what each pattern costs
    #[command(after_help = "Example: weir-policy check /etc/weir/policy")]
    Check { dir: PathBuf },
    /// Compile sources into a signed bundle
    #[command(
        after_help = "Example: weir-policy compile --key policy.key --out current.bundle /etc/weir/policy"
    )]
    Compile(Compile),
    /// Decide a recording again under another bundle and show what would change
    #[command(
        after_help = "Exits 0 if nothing would change, 3 if something would, 1 if it cannot be told.\n\nExample: weir-policy diff --bundle new.bundle --trusted-key policy.key.pub --segments /var/lib/weir/segments"
    )]
    Diff(Diff),
    /// Decide one command and say why
    #[command(
        after_help = "Example: weir-policy explain --policy /etc/weir/policy --connection clinic --role job 'DROP TABLE patients'"
    )]
    Explain(Box<Explain>),
    /// Answer a question that is JSON on standard input, as JSON: what the admin service's pages ask
    #[command(
        after_help = "Example: echo '{\"bundle\": \"current.bundle\", \"trusted_keys\": [\"ed25519:...\"], \"who\": {\"connection\": \"clinic\"}, \"what\": {\"sql\": \"DROP TABLE patients\"}}' | weir-policy answer"
    )]
    Answer,
    /// Make a signing key: FILE (only you can read it) and FILE.pub
    #[command(after_help = "Example: weir-policy keygen --out policy.key")]
    Keygen {
        #[arg(long)]
        out: PathBuf,
    },
    /// Run every rule's samples
    #[command(after_help = "Example: weir-policy test /etc/weir/policy")]
    Test { dir: PathBuf },
}

#[derive(Args)]
struct Compile {
    /// Signing key, as `keygen` makes it.
    #[arg(long)]
    key: PathBuf,
    /// The bundle; replaced in one step.
    #[arg(long)]
    out: PathBuf,
    /// Higher is newer. Without it, the time in seconds.
    #[arg(long)]
    generation: Option<u64>,
    /// Seconds since 1970; without it SOURCE_DATE_EPOCH or now. With --generation it makes the bundle reproducible.
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    created: Option<u64>,
    dir: PathBuf,
}

#[derive(Args)]
struct Diff {
    /// The candidate.
    #[arg(long)]
    bundle: PathBuf,
    /// Public key file that the bundles must be signed by.
    #[arg(long)]
    trusted_key: PathBuf,
    /// Directory of recorded segments.
    #[arg(long, env = "WEIR_SEGMENTS")]
    segments: PathBuf,
    /// An auditor's private key, to read what was encrypted to it; may be repeated.
    #[arg(long = "auditor-key", env = "WEIR_AUDITOR_KEY", value_name = "FILE", value_delimiter = ':')]
    auditor_keys: Vec<PathBuf>,
    /// Compare with this bundle; without it, with what was decided then.
    #[arg(long)]
    against: Option<PathBuf>,
}

#[derive(Args)]
struct Explain {
    /// Sources to decide by.
    #[arg(long, conflicts_with = "bundle", required_unless_present = "bundle")]
    policy: Option<PathBuf>,
    /// Bundle to decide by; needs --trusted-key.
    #[arg(long, requires = "trusted_key")]
    bundle: Option<PathBuf>,
    /// Public key file that the bundle must be signed by.
    #[arg(long)]
    trusted_key: Option<PathBuf>,
    /// JSON file with issuer, subject, groups, claims, run, purpose, connection, role; flags add to it.
    #[arg(long)]
    identity: Option<PathBuf>,
    #[arg(long)]
    issuer: Option<String>,
    #[arg(long)]
    subject: Option<String>,
    #[arg(long = "group")]
    groups: Vec<String>,
    /// As name=value.
    #[arg(long = "claim")]
    claims: Vec<String>,
    #[arg(long)]
    run: Option<String>,
    #[arg(long)]
    purpose: Option<String>,
    #[arg(long)]
    connection: Option<String>,
    #[arg(long)]
    role: Option<String>,
    /// The command is an HTTP request: `METHOD [host]/path[?query]`.
    #[arg(long, conflicts_with_all = ["connect", "ssh"])]
    http: bool,
    /// The command is asked for over SSH: `exec LINE`, `shell`, `subsystem NAME`, `forward HOST:PORT`, `listen HOST:PORT`,
    /// `env NAME`, `agent`, `x11`.
    #[arg(long, conflicts_with = "connect")]
    ssh: bool,
    /// The command is a connection attempt: `postgres [application]`.
    #[arg(long)]
    connect: bool,
    /// SQL text, unless --http, --ssh or --connect says otherwise.
    command: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-policy: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let done = match &cli.command {
        Command::Check { dir } => check(dir, cli.json),
        Command::Compile(options) => compile(options, cli.json),
        Command::Diff(options) => return diff(options, cli.json),
        Command::Explain(options) => explain(options, cli.json),
        Command::Answer => answer(),
        Command::Keygen { out } => keygen(out, cli.json),
        Command::Test { dir } => test(dir, cli.json),
    }?;
    Ok(ExitCode::from(u8::from(!done)))
}

fn keygen(out: &Path, json: bool) -> anyhow::Result<bool> {
    let (key, public_file) = compiler::keys::generate(out)?;
    if json {
        print_json(
            &serde_json::json!({ "key": out, "public_key_file": public_file, "public_key": key.to_string() }),
        )?;
    } else {
        println!("signing key {}\npublic key  {}  {key}", out.display(), public_file.display());
    }
    Ok(true)
}

fn sources(dir: &Path) -> anyhow::Result<Vec<Source>> {
    Ok(compiler::read_sources(dir)?)
}

fn complain(problems: &[Problem], json: bool) -> anyhow::Result<bool> {
    if json {
        print_json(&serde_json::json!({ "problems": problems }))?;
    } else {
        for problem in problems {
            eprintln!("{problem}");
        }
        eprintln!("{} to mend", count(problems.len(), "problem"));
    }
    Ok(false)
}

fn check(dir: &Path, json: bool) -> anyhow::Result<bool> {
    let compiled = match compiler::compile(&sources(dir)?) {
        Ok(compiled) => compiled,
        Err(problems) => return complain(&problems, json),
    };
    let report = compiler::report(&compiled).map_err(|error| anyhow::anyhow!(error))?;
    if json {
        print_json(&report)?;
        return Ok(true);
    }
    println!(
        "{}, {}, {} as claimed",
        count(report.rules, "rule"),
        count(report.masks, "mask"),
        count(report.samples, "sample")
    );
    for shadowed in &report.shadowed {
        println!(
            "warning: rule {} is shadowed by {}, which blocks all its samples",
            shadowed.rule, shadowed.by
        );
    }
    for cost in &report.patterns {
        let width = cost.max_width_bytes.map_or_else(|| "unbounded".to_owned(), |width| format!("{width} B"));
        println!(
            "{:>7} MB/s  {width:>9}  {}  {}",
            cost.megabytes_per_second,
            cost.used_by.join(","),
            cost.pattern
        );
    }
    if let Some(speed) = report.masks_megabytes_per_second {
        println!("{speed:>7} MB/s             all mask patterns at once");
    }
    Ok(true)
}

fn test(dir: &Path, json: bool) -> anyhow::Result<bool> {
    let compiled = match compiler::lower(&sources(dir)?) {
        Ok(compiled) => compiled,
        Err(problems) => return complain(&problems, json),
    };
    let results = compiler::run_samples(&compiled).map_err(|error| anyhow::anyhow!(error))?;
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    if json {
        print_json(&results)?;
        return Ok(failed == 0);
    }
    for result in &results {
        if let Some(failure) = &result.failure {
            let sample = &result.sample;
            println!(
                "{}:{}: rule `{}`: sample `{}` {failure}",
                sample.file.display(),
                sample.line,
                sample.rule,
                sample.text
            );
        }
    }
    println!("{}, {failed} failed", count(results.len(), "sample"));
    Ok(failed == 0)
}

fn compile(options: &Compile, json: bool) -> anyhow::Result<bool> {
    let compiled = match compiler::compile(&sources(&options.dir)?) {
        Ok(compiled) => compiled,
        Err(problems) => return complain(&problems, json),
    };
    let now = || std::time::UNIX_EPOCH.elapsed().map(|since| since.as_secs());
    let created = match options.created {
        Some(created) => created,
        None => now().context("the clock stands before 1970")?,
    };
    let about = About {
        generation: options.generation.unwrap_or(created),
        created: Timestamp::from_unix_seconds(created),
        compiler: format!("weir-policy {}", env!("CARGO_PKG_VERSION")),
        engine: compiler::engine(),
    };
    let key = compiler::keys::read(&options.key)?;
    let bytes = weir_policy::write_bundle(&about, &compiled.tables, &compiled.databases, &key)?;
    // What is written is what the data plane will accept.
    Policy::load(&bytes, &[weir_policy::trusted_key(&key)?], &weir_scan::load)?;
    replace(&options.out, &bytes)?;
    if json {
        print_json(
            &serde_json::json!({ "bundle": options.out, "generation": about.generation, "bytes": bytes.len() }),
        )?;
    } else {
        println!("{}: generation {}, {} bytes", options.out.display(), about.generation, bytes.len());
    }
    Ok(true)
}

/// Readers see the old file or the new one, never a part.
fn replace(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = out.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, out)
    };
    write().with_context(|| format!("cannot write {}", out.display()))
}

fn explain(options: &Explain, json: bool) -> anyhow::Result<bool> {
    let policy = explained_policy(options)?;
    let who = who(options)?;
    let what = match (options.http, options.connect, options.ssh) {
        (true, _, _) => What::Http(options.command.clone()),
        (_, true, _) => What::Connect(options.command.clone()),
        (_, _, true) => What::Ssh(options.command.clone()),
        (false, false, false) => What::Sql(options.command.clone()),
    };
    let told = compiler::explain(&policy, &who, &what).map_err(|error| anyhow::anyhow!(error))?;
    if json {
        print_json(&told)?;
    } else {
        let rule = told.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
        let message = told.message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        println!("{}{rule}{message}", told.verdict);
        for line in told.noted.iter().chain(&told.notes) {
            println!("  {line}");
        }
        for rule in &told.rules {
            println!("rule {} ({}): {}", rule.rule, rule.action, rule.outcome);
            for condition in &rule.conditions {
                println!("  {condition}");
            }
        }
        for mask in &told.masks {
            println!("mask {mask}");
        }
    }
    Ok(told.verdict == "allow")
}

/// The command is never in the arguments, which everybody on the machine may read.
fn answer() -> anyhow::Result<bool> {
    let mut text = String::new();
    std::io::stdin().take(compiler::MAX_QUESTION_BYTES).read_to_string(&mut text)?;
    let question = serde_json::from_str(&text).context("standard input is no question")?;
    match compiler::answer(question) {
        Ok(told) => print_json(&told).map(|()| true),
        Err(error) => print_json(&serde_json::json!({ "error": error })).map(|()| false),
    }
}

fn explained_policy(options: &Explain) -> anyhow::Result<Policy> {
    match (&options.policy, &options.bundle, &options.trusted_key) {
        (Some(dir), _, _) => {
            let compiled = compiler::compile(&sources(dir)?).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("{}", lines.join("\n"))
            })?;
            compiled.policy().map_err(|error| anyhow::anyhow!(error))
        }
        (None, Some(bundle), Some(key)) => {
            let bytes = std::fs::read(bundle).with_context(|| bundle.display().to_string())?;
            Ok(Policy::load(&bytes, &[compiler::keys::read_public(key)?], &weir_scan::load)?)
        }
        (None, _, _) => bail!("name --policy DIR, or --bundle FILE and --trusted-key FILE"),
    }
}

/// Exit code of a candidate that decides something otherwise.
const CHANGES: u8 = 3;

fn diff(options: &Diff, json: bool) -> anyhow::Result<ExitCode> {
    let load = |bundle: &PathBuf| -> anyhow::Result<Policy> {
        let bytes = std::fs::read(bundle).with_context(|| bundle.display().to_string())?;
        let key = compiler::keys::read_public(&options.trusted_key)?;
        Policy::load(&bytes, &[key], &weir_scan::load).with_context(|| bundle.display().to_string())
    };
    let new = load(&options.bundle)?;
    let old = options.against.as_ref().map(load).transpose()?;
    let refused = |error: String| anyhow::anyhow!(error);
    let recording = compiler::Recording::open(&options.segments, &options.auditor_keys).map_err(refused)?;
    let found = compiler::difference(&new, old.as_ref(), &recording).map_err(refused)?;
    if json {
        print_json(&found)?;
    } else {
        println!(
            "{}, {} decided again: {} would be decided otherwise ({} not for rules to decide, {} undecidable)",
            count(usize::try_from(found.requests).unwrap_or(usize::MAX), "recorded request"),
            found.decided,
            found.changed,
            found.not_for_rules,
            found.undecidable
        );
        for change in &found.changes {
            println!("{:>7}  {} -> {}  {}", change.count, change.old, change.new, change.example);
            println!("         {}", change.identities.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        for mask in &found.masks {
            println!("mask     {}  {}", mask.change, mask.identity);
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CHANGES) })
}

fn who(options: &Explain) -> anyhow::Result<Who> {
    let mut who = match &options.identity {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            serde_json::from_str(&text).with_context(|| file.display().to_string())?
        }
        None => Who::default(),
    };
    let set = |to: &mut String, from: &Option<String>| {
        if let Some(value) = from {
            to.clone_from(value);
        }
    };
    set(&mut who.issuer, &options.issuer);
    set(&mut who.subject, &options.subject);
    set(&mut who.connection, &options.connection);
    set(&mut who.role, &options.role);
    who.groups.extend(options.groups.iter().cloned());
    who.run = options.run.clone().or(who.run);
    who.purpose = options.purpose.clone().or(who.purpose);
    let mut claims = BTreeMap::new();
    for claim in &options.claims {
        let Some((name, value)) = claim.split_once('=') else { bail!("--claim {claim}: write name=value") };
        claims.insert(name.to_owned(), value.to_owned());
    }
    who.claims.extend(claims);
    Ok(who)
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
