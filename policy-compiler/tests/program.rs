//! The program and its bundles, as a user and an attacker meet them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use weir_policy::{Bundle, Error, TrustedKey};

fn weir_policy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir-policy")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn clinic() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../admin/demo/policy")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn with(name: &str, content: &str) -> Self {
        let folder = Self::new();
        std::fs::write(folder.path(name), content).unwrap();
        folder
    }

    /// A key pair and the clinic's bundle.
    fn compiled() -> Self {
        let folder = Self::new();
        assert!(weir_policy(&["keygen", "--out", &folder.path("key")]).status.success());
        folder.compile("bundle");
        folder
    }

    fn compile(&self, out: &str) {
        let (key, out, clinic) = (self.path("key"), self.path(out), clinic());
        let done = weir_policy(&[
            "compile",
            "--key",
            &key,
            "--out",
            &out,
            "--generation",
            "3",
            "--created",
            "1700000000",
            clinic.to_str().unwrap(),
        ]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    fn trusted(&self) -> TrustedKey {
        std::fs::read_to_string(self.path("key.pub")).unwrap().parse().unwrap()
    }
}

#[test]
fn a_bundle_loads_under_its_key_and_no_other() {
    let (folder, other) = (Folder::compiled(), Folder::compiled());
    let bytes = std::fs::read(folder.path("bundle")).unwrap();
    let bundle = Bundle::load(&bytes, &[other.trusted(), folder.trusted()], &weir_scan::load).unwrap();
    assert_eq!(bundle.about().generation, 3);
    assert!(bundle.about().engine.starts_with("hyperscan 5.4"), "{}", bundle.about().engine);
    let refused = Bundle::load(&bytes, &[other.trusted()], &weir_scan::load).unwrap_err();
    assert!(matches!(refused, Error::Signature));
    assert!(Bundle::load(&bytes, &[], &weir_scan::load).is_err());
}

#[test]
fn any_flipped_bit_and_any_cut_are_refused() {
    let folder = Folder::compiled();
    let bytes = std::fs::read(folder.path("bundle")).unwrap();
    let trusted = [folder.trusted()];
    for at in (0..bytes.len()).step_by(bytes.len() / 199) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(Bundle::load(&damaged, &trusted, &weir_scan::load).is_err(), "bit {} of byte {at}", at % 8);
    }
    for len in (0..bytes.len()).step_by(bytes.len() / 97) {
        assert!(Bundle::load(&bytes[..len], &trusted, &weir_scan::load).is_err(), "cut at {len}");
    }
}

/// Whoever holds the key may still write nonsense: it must be an error, not a crash.
#[test]
fn signed_nonsense_is_refused_without_a_crash() {
    let folder = Folder::compiled();
    let key = weir_policy_compiler::keys::read(Path::new(&folder.path("key"))).unwrap();
    let bytes = std::fs::read(folder.path("bundle")).unwrap();
    let body = &bytes[..bytes.len() - 64];
    // Header and tables; what lies in a database is Hyperscan's to check, by its own CRC.
    for at in (0..body.len().min(12_000)).step_by(151) {
        for value in [0x00, 0xff] {
            let mut crafted = body.to_vec();
            crafted[at] = value;
            let signature = key.sign(&crafted);
            crafted.extend_from_slice(signature.as_ref());
            let _ = Bundle::load(&crafted, &[folder.trusted()], &weir_scan::load);
        }
    }
}

#[test]
fn the_same_sources_give_the_same_bundle() {
    let folder = Folder::compiled();
    folder.compile("again");
    assert_eq!(std::fs::read(folder.path("bundle")).unwrap(), std::fs::read(folder.path("again")).unwrap());
}

#[test]
fn a_signing_key_is_for_its_owner_only_and_is_never_overwritten() {
    let folder = Folder::compiled();
    let mode = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("key.pub")), (0o600, 0o644));
    let again = weir_policy(&["keygen", "--out", &folder.path("key")]);
    assert_eq!(again.status.code(), Some(1));
    std::fs::set_permissions(folder.path("key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = weir_policy(&[
        "compile",
        "--key",
        &folder.path("key"),
        "--out",
        &folder.path("x"),
        clinic().to_str().unwrap(),
    ]);
    assert_eq!(open.status.code(), Some(1));
    assert!(text(&open.stderr).contains("chmod 600"), "{}", text(&open.stderr));
    assert!(!Path::new(&folder.path("x")).exists());
}

/// Each broken source, and what its author is told.
#[test]
fn errors_name_file_line_key_and_what_was_meant() {
    let samples =
        "sql.samples = { match = [\"DROP TABLE t\"], pass = [\"SELECT 1\"], evade = [\"drop/**/table t\"] }";
    let rule = |body: &str| format!("# one\n[[rule]]\nid = \"r\"\n{body}\n");
    for (source, line, wanted) in [
        (rule("acton = \"block\""), 4, "unknown key `acton`; did you mean `action`?"),
        (rule("action = \"blok\"\nsql.any = true"), 4, "unknown action `blok`; did you mean `block`?"),
        (rule(&format!("action = \"block\"\nsql.kinds = [\"select\",\n \"tuncate\"]\n{samples}")), 6, "did you mean `truncate`?"),
        (rule("action = \"block\"\nsql.kinds = [\"drop\"]"), 5, "proves nothing: sql.samples.match"),
        (rule(&format!("action = \"block\"\nsql.kinds = [\"truncate\"]\n{samples}")), 6, "is not matched, but it should be"),
        (rule(&format!("action = \"block\"\nsql.any = true\n{samples}")), 6, "is matched, but it should pass"),
        (rule(&format!("action = \"hold\"\nsql.kinds = [\"drop\"]\n{samples}")), 3, "hold.approvers"),
        (rule(&format!("action = \"block\"\nsql.patterns = [\"a(\"]\n{samples}")), 5, "pattern `a(`"),
        (rule("action = \"block\"\nsql = {}"), 5, "sql.any = true"),
        (rule("action = \"block\""), 3, "matches nothing"),
        (rule(&format!("action = \"hold\"\nhold = {{ approvers = [\"a\"], expires = \"15\" }}\nsql.kinds = [\"drop\"]\n{samples}")), 5, "`15` is no length of time; write for example"),
        (format!("{}{}", rule(&format!("action = \"block\"\nsql.kinds = [\"drop\"]\n{samples}")), rule(&format!("action = \"block\"\nsql.kinds = [\"drop\"]\n{samples}"))), 9, "already used at"),
        ("[[mask]]\nid = \"m\"\nmethod = \"null\"\npatterns = ['a+b']\nsamples = { match = [\"ab\"], pass = [\"b\"] }".into(), 4, "bound its repetitions"),
        ("[[mask]]\nid = \"m\"\nmethod = \"partial\"\ncolumns = [\"a\"]".into(), 3, "keep_last"),
        ("[[mask]]\nid = \"m\"\nmethod = \"null\"\ncolumns = [\"a\"]\nexpressions = \"deny\"".into(), 5, "refuse"),
        (
            "[[mask]]\nid = \"m\"\nmethod = \"null\"\njson = [\"$.a\"]\nexpressions = \"refuse\"".into(),
            5,
            "is about `columns`",
        ),
        ("[[mask]]\nid = \"m\"\nmethod = \"null\"\npatterns = ['^a$']\nsamples = { match = [\"a\"], pass = [\"b\"] }".into(), 4, "\\b can"),
        ("[[mask]]\nid = \"m\"\nmethod = \"null\"\npatterns = ['\\d{3}']\nsamples = { match = [\"12\"], pass = [\"b\"] }".into(), 5, "is not matched"),
        ("[[rule]\n".into(), 1, ""),
    ] {
        let folder = Folder::with("a.toml", &source);
        let refused = weir_policy(&["check", &folder.path("")]);
        assert_eq!(refused.status.code(), Some(1), "{source}");
        let told = text(&refused.stderr);
        assert!(told.contains(&format!("a.toml:{line}: ")) && told.contains(wanted), "{source}\n--- told:\n{told}\n--- wanted line {line}: {wanted}");
    }
}

#[test]
fn an_evaded_rule_does_not_compile() {
    let source = r#"
[[rule]]
id = "r"
action = "block"
sql.patterns = ["drop table"]
sql.samples = { match = ["DROP TABLE t"], pass = ["SELECT 1"], evade = ["DROP MATERIALIZED VIEW t"] }
"#;
    let folder = Folder::with("a.toml", source);
    let refused = weir_policy(&["test", &folder.path("a.toml")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("evades the rule"), "{}", text(&refused.stdout));
}

#[test]
fn a_shadowed_rule_is_reported() {
    let source = r#"
[[rule]]
id = "wide"
action = "block"
sql.kinds = ["drop", "truncate"]
sql.samples = { match = ["DROP TABLE t"], pass = ["SELECT 1"], evade = ["drop/**/table t"] }

[[rule]]
id = "narrow"
for = { roles = ["job"] }
action = "hold"
hold.approvers = ["dba"]
sql.kinds = ["truncate"]
sql.samples = { match = ["TRUNCATE t"], pass = ["SELECT 1"], evade = ["truncate/**/t"] }
"#;
    let folder = Folder::with("a.toml", source);
    let checked = weir_policy(&["check", "--json", &folder.path("a.toml")]);
    assert!(checked.status.success());
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["shadowed"], serde_json::json!([{ "rule": "narrow", "by": "wide" }]));
}

#[test]
fn the_clinic_decides_as_its_readme_says() {
    let policy = clinic();
    let explain = |role: &str, extra: &[&str], command: &str| {
        let mut arguments = vec![
            "explain",
            "--json",
            "--policy",
            policy.to_str().unwrap(),
            "--connection",
            "clinic",
            "--role",
            role,
        ];
        arguments.extend_from_slice(extra);
        arguments.push(command);
        let told = weir_policy(&arguments);
        let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        let masks = json["masks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it.as_str().unwrap().contains("email"))
            .count();
        (json["verdict"].as_str().unwrap().to_owned(), told.status.code().unwrap(), masks)
    };
    assert_eq!(explain("job", &[], "SELECT * FROM patients"), ("allow".into(), 0, 3));
    assert_eq!(explain("analyst", &[], "SELECT * FROM patients"), ("allow".into(), 0, 0));
    assert_eq!(explain("privileged", &[], "DROP TABLE patients"), ("allow".into(), 0, 0));
    assert_eq!(explain("job", &[], "DROP TABLE patients").0, "deny");
    assert_eq!(explain("analyst", &[], "DELETE FROM visits").0, "hold");
    assert_eq!(explain("job", &[], "COPY patients TO STDOUT").0, "hold");
    assert_eq!(explain("job", &["--http"], "DELETE /v1/patients/7"), ("deny".into(), 1, 3));
    assert_eq!(explain("job", &["--http"], "POST /v1/exports").0, "hold");
}

#[test]
fn explain_decides_by_a_bundle_as_by_its_sources() {
    let folder = Folder::compiled();
    let told = weir_policy(&[
        "explain",
        "--bundle",
        &folder.path("bundle"),
        "--trusted-key",
        &folder.path("key.pub"),
        "--connection",
        "clinic",
        "--role",
        "job",
        "TRUNCATE visits",
    ]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stdout).starts_with("deny by no-drop: "), "{}", text(&told.stdout));
}

#[test]
fn usage_errors_exit_with_two() {
    assert_eq!(weir_policy(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(weir_policy(&["explain", "SELECT 1"]).status.code(), Some(2));
}
