//! Each test is one rule of the house. A failure prints every offence with its place.

use std::collections::{BTreeMap, BTreeSet};

use weir_tidy::{File, files, list, root};

/// Which of our crates each may depend on. Programs never depend on programs, crates never on a program.
const DIRECTION: &[(&str, &[&str])] = &[
    ("weir-policy", &[]),
    ("weir-control", &[]),
    ("weir-segment", &[]),
    ("weir-ring", &[]),
    ("weir-sources", &[]),
    ("weir-ssh", &["weir-policy", "weir-wire", "weir-mask"]),
    ("weir-ssh-fuzz", &["weir-ssh"]),
    ("weir-tidy", &[]),
    ("weir-scan", &["weir-policy"]),
    ("weir-sql", &["weir-policy"]),
    ("weir-wire", &["weir-policy"]),
    ("weir-mask", &["weir-policy"]),
    ("weir-token", &["weir-policy", "weir-control"]),
    ("weir-postgres", &["weir-policy", "weir-wire", "weir-mask", "weir-sql"]),
    ("weir-http-fuzz", &["weir-http", "weir-mask", "weir-policy", "weir-wire"]),
    ("weir-postgres-fuzz", &["weir-postgres", "weir-policy", "weir-wire", "weir-mask"]),
    ("weir-sql-fuzz", &["weir-policy", "weir-sql"]),
    ("weir-http", &["weir-policy", "weir-wire", "weir-mask"]),
    ("weir-recorder", &["weir-ring", "weir-segment", "weir-sources"]),
    (
        "weir-policy-compiler",
        &[
            "weir-policy",
            "weir-scan",
            "weir-sql",
            "weir-postgres",
            "weir-http",
            "weir-mask",
            "weir-segment",
            "weir-sources",
            "weir-ssh",
        ],
    ),
    (
        "weir-admin",
        &[
            "weir-control",
            "weir-segment",
            "weir-policy",
            "weir-ring",
            "weir-scan",
            "weir-sql",
            "weir-token",
            "weir-postgres",
            "weir-http",
            "weir-sources",
            "weir-ssh",
        ],
    ),
    (
        "weir-dataplane",
        &[
            "weir-control",
            "weir-http",
            "weir-mask",
            "weir-policy",
            "weir-postgres",
            "weir-ring",
            "weir-scan",
            "weir-segment",
            "weir-sources",
            "weir-sql",
            "weir-ssh",
            "weir-token",
            "weir-wire",
        ],
    ),
    ("weir-loadtest", &[]),
];

/// Folders whose code may hold `unsafe`, each block with its SAFETY line (clippy checks the lines).
const UNSAFE: &[&str] = &[
    "crates/scan/src",
    "crates/ring/src",
    "crates/sql/src/ffi",
    "dataplane/src/net",
    "recorder/src/descriptors.rs",
];

/// Who may call `decide`: one enforcing call site, and readers that have no upstream to open.
const DECIDE: &[&str] =
    &["dataplane/src/session", "policy-compiler/src", "crates/policy/src", "admin/src", "benches"];

#[test]
fn every_file_says_what_it_is() {
    let silent = rust().into_iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path);
    assert_eq!(list(silent), "", "open each file with //!: what it is, what it deliberately does not do");
}

#[test]
fn no_file_name_says_nothing() {
    let vague = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "types"];
    let offences = rust()
        .into_iter()
        .map(|file| file.path)
        .filter(|path| path.split('/').any(|part| vague.contains(&part.trim_end_matches(".rs"))));
    assert_eq!(list(offences), "");
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = rust().into_iter().filter(|file| !file.is_test()).filter_map(|file| {
        let lines = file.product().lines().count();
        (lines > 500).then(|| format!("{}: {lines} lines", file.path))
    });
    assert_eq!(list(long), "", "at most 500 lines before the unit tests");
}

#[test]
fn no_test_is_skipped_and_nothing_is_left_to_do() {
    // Spelt in halves so that this file does not offend itself.
    let banned =
        [["#[ig", "nore"], ["#[should_", "panic"], ["to", "do!("], ["unimple", "mented!("], ["dbg", "!("]]
            .map(|h| h.concat());
    let offences = rust().into_iter().flat_map(|file| {
        let hits = banned.iter().filter(|word| file.text.contains(*word)).cloned().collect::<Vec<_>>();
        hits.into_iter().map(move |word| format!("{}: {word}", file.path))
    });
    assert_eq!(list(offences), "");
}

#[test]
fn unsafe_lives_in_few_places() {
    let offences = rust().into_iter().filter(|file| !file.is_test()).filter(|file| {
        let allowed = UNSAFE.iter().any(|folder| file.path.starts_with(folder));
        !allowed
            && file
                .product()
                .lines()
                .any(|line| code(line).contains("unsafe {") || code(line).contains("unsafe fn"))
    });
    assert_eq!(list(offences.map(|file| file.path)), "");
}

#[test]
fn only_the_session_enforces_a_decision() {
    let offences = rust().into_iter().filter(|file| {
        let allowed = file.is_test() || DECIDE.iter().any(|place| file.path.starts_with(place));
        !allowed && file.product().lines().any(|line| code(line).contains(".decide("))
    });
    assert_eq!(list(offences.map(|file| file.path)), "");
}

#[test]
fn dependencies_point_one_way() {
    let allowed = DIRECTION.iter().copied().collect::<BTreeMap<_, _>>();
    let mut offences = Vec::new();
    for (name, dependencies) in manifests() {
        let ours = dependencies.iter().filter(|dependency| dependency.starts_with("weir-"));
        if name == "weir-benches" {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            offences.push(format!("{name}: not in the table"));
            continue;
        };
        offences.extend(ours.filter(|d| !allowed.contains(&d.as_str())).map(|d| format!("{name} -> {d}")));
    }
    assert_eq!(list(offences), "");
}

#[test]
fn each_runtime_has_one_home() {
    let homes = [("monoio", &["weir-dataplane"][..]), ("tokio", &["weir-admin", "weir-loadtest"][..])];
    let mut offences = Vec::new();
    for (name, dependencies) in manifests() {
        for (runtime, allowed) in homes {
            if dependencies.contains(runtime) && !allowed.contains(&name.as_str()) {
                offences.push(format!("{name} -> {runtime}"));
            }
        }
    }
    assert_eq!(list(offences), "");
}

#[test]
fn every_dependency_has_its_reason() {
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let reasons =
        architecture.split("## Dependencies").nth(1).expect("ARCHITECTURE.md has a Dependencies section");
    let used = manifests()
        .into_values()
        .flatten()
        .filter(|name| !name.starts_with("weir-"))
        .collect::<BTreeSet<_>>();
    let missing = used.into_iter().filter(|name| !reasons.contains(&format!("`{name}`")));
    assert_eq!(list(missing), "", "one line each in ARCHITECTURE.md, Dependencies");
}

#[test]
fn every_test_that_a_document_names_exists() {
    let sources = files(&["rs", "py", "sh", "js"]).into_iter().map(|file| file.text).collect::<String>();
    let mut missing = Vec::new();
    for document in files(&["md"]) {
        for name in document.text.split("test `").skip(1).filter_map(|rest| rest.split('`').next()) {
            let function = name.rsplit("::").next().unwrap_or(name);
            if !sources.contains(&format!("fn {function}(")) {
                missing.push(format!("{}: {name}", document.path));
            }
        }
    }
    assert_eq!(list(missing), "");
}

fn rust() -> Vec<File> {
    files(&["rs"])
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Each package's name and the names of what it depends on, build and test dependencies too.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let manifests = files(&["toml"]).into_iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    manifests
        .filter_map(|file| {
            let manifest = file.text.parse::<toml::Table>().ok()?;
            let name = manifest.get("package")?.get("name")?.as_str()?.to_owned();
            let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
            let tables = sections.into_iter().filter_map(|section| manifest.get(section)?.as_table());
            Some((name, tables.flat_map(|table| table.keys().cloned()).collect()))
        })
        .collect()
}
