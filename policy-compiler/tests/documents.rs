//! The rules that documents show compile, and their samples hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_rules_in_the_page_on_http_prove_themselves() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 2, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.toml"), blocks.concat()).unwrap();
    let done =
        Command::new(env!("CARGO_BIN_EXE_weir-policy")).arg("check").arg(folder.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // A sample that does not hold is noticed.
    let wrong = blocks.concat().replace("DELETE /v1/patients/7", "DELETE /v1/patients");
    std::fs::write(folder.path().join("page.toml"), wrong).unwrap();
    let done =
        Command::new(env!("CARGO_BIN_EXE_weir-policy")).arg("check").arg(folder.path()).output().unwrap();
    assert!(!done.status.success());
}
