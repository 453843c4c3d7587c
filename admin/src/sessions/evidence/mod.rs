//! `report nist` and `report hipaa`: evidence made from the segments alone, each statement with proofs that anybody can
//! check with a public key. The same segments, keys and span give the same bytes: nothing of now is in it.

mod controls;
mod gather;
mod html;
mod proofs;
mod verification;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::checkpoints::Remembered;
use controls::Control;
pub(crate) use controls::Framework;
use gather::Gathered;
use proofs::{Proofs, Proved};
use verification::Verification;

use super::{files, verify};
use crate::cli::ReportArgs;
use crate::{progress, when};

/// What a report says that it is.
const FORMAT: &str = "weir-report-1";

#[derive(Serialize)]
struct Report {
    format: &'static str,
    made_by: String,
    framework: &'static str,
    from: String,
    until: String,
    public_keys: Vec<String>,
    /// Whether everything that is there could be read, and is as it was written.
    sound: bool,
    verification: Verification,
    controls: Vec<Control>,
    evidence: Gathered,
    proofs: Vec<Proved>,
}

pub(crate) fn run(framework: Framework, arg: &ReportArgs) -> Result<ExitCode> {
    let dir = arg.segments.segments.as_path();
    if arg.from >= arg.until {
        bail!("--from must be before --until");
    }
    let trusted = verify::public_keys(&arg.key)?;
    let out = arg.out.as_path();
    make_empty(out)?;
    let _bar = progress::over(dir, 3, true);
    let remembered = Remembered::read(arg.checkpoint.as_deref(), &trusted)?;
    let verification = verification::verify(dir, &trusted, &remembered, arg.first, arg.sealed)?;
    let mut shows = Gathered::default();
    let whole = files::walk(dir, |head, body| {
        let wanted = (arg.from..arg.until).contains(&head.wall_unix_us);
        shows.event(head, body, wanted);
        Ok(())
    })?;
    let folder = out.join("proofs");
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let proofs = Proofs::make(dir, &shows.samples, &folder)?;
    let report = Report {
        format: FORMAT,
        made_by: format!("weir-admin {}", env!("CARGO_PKG_VERSION")),
        framework: framework.title(),
        from: when::text(arg.from),
        until: when::text(arg.until),
        public_keys: trusted
            .iter()
            .map(|key| weir_segment::public_key_text(key).trim_end().to_owned())
            .collect(),
        sound: whole && verification.faults == 0,
        controls: controls::controls(framework, &shows, &verification, &proofs),
        proofs: proofs.all(),
        verification,
        evidence: shows,
    };
    write(out, &report)?;
    tell(&report, out, arg.json)?;
    Ok(files::code(report.sound))
}

/// A report is never mixed with another's files.
fn make_empty(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut entries = fs::read_dir(out).with_context(|| format!("cannot read {}", out.display()))?;
    if entries.next().is_some() {
        bail!("{} is not empty: name a new directory", out.display());
    }
    Ok(())
}

fn write(out: &Path, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    let keys: String = report.public_keys.iter().map(|key| format!("{key}\n")).collect();
    let mut sums = String::new();
    let mut files = vec![
        ("report.html".to_owned(), html::page(report).into_bytes()),
        ("report.json".to_owned(), json.into_bytes()),
        ("segment.pub".to_owned(), keys.into_bytes()),
    ];
    for (name, bytes) in &files {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for proved in report.proofs.iter().filter_map(|proved| proved.file.as_ref()) {
        files.push((proved.clone(), fs::read(out.join(proved))?));
    }
    for (name, bytes) in &files {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        // Writing into a string cannot fail.
        let _ = writeln!(sums, "{}  {name}", hex::encode(digest));
    }
    let path = out.join("SHA256SUMS");
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))
}

fn tell(report: &Report, out: &Path, json: bool) -> Result<()> {
    let statements = || report.controls.iter().flat_map(|control| &control.statements);
    let (all, without) = (statements().count(), statements().filter(|one| !one.evidence).count());
    let proved = report.proofs.iter().filter(|proved| proved.file.is_some()).count();
    if json {
        let told = serde_json::json!({
            "out": out, "sound": report.sound, "controls": report.controls.len(), "statements": all,
            "without_evidence": without, "proofs": proved,
        });
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(());
    }
    say!(
        "{}: {} controls, {all} statements, {without} without evidence, {proved} proofs",
        out.join("report.html").display(),
        report.controls.len()
    );
    if !report.sound {
        say!(
            "NOT SOUND: {} segments are not as they were written, or could not be read",
            report.verification.faults
        );
    }
    Ok(())
}
