//! The pages in a real browser, against the whole appliance. Needs the other programs beside this one (`make build`), Debian's
//! `chromium` and `chromium-driver`, and Python's selenium and npm's axe-core (`make drivers`). Pictures of every page are kept
//! under `target/screenshots`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[test]
fn a_person_signs_in_approves_a_held_statement_kills_a_session_and_questions_the_policy_in_a_browser() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../target").canonicalize().unwrap();
    let modules = || target.join("web/node_modules");
    let modules = std::env::var_os("WEIR_WEB_MODULES").map_or_else(modules, PathBuf::from);
    let dir = tempfile::TempDir::new().unwrap();
    let tour = dir.path().join("tour.sh");
    let walk = here.join("tests/browser/walk.py");
    std::fs::write(&tour, format!("exec python3 '{}'\n", walk.display())).unwrap();
    let path = std::env::var("PATH").unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_weir-admin"))
        .args(["dev", "up", "--dir"])
        .arg(dir.path().join("appliance"))
        .arg("--tour")
        .arg(&tour)
        .env("PATH", format!("{}:{path}", target.join("venv/bin").display()))
        .env("WEIR_SCREENSHOTS", target.join("screenshots"))
        .env("WEIR_WEB_MODULES", modules)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{error}");
    assert!(target.join("screenshots/approval-phone-dark.png").exists());
}
