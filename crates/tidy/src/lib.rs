//! The repository's own rules, as tests: layout, direction of dependencies, where `unsafe` and runtimes may live,
//! and that what the documents claim exists. It judges text, not behaviour; clippy and deny.toml judge the rest.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// A tracked text file, by its path from the repository's root.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// The repository's root.
///
/// # Panics
/// Never within this repository: the crate lies two levels below it.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// Every file of ours with one of these extensions, sorted by path.
pub fn files(extensions: &[&str]) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    collect(&root, &root, extensions, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, extensions: &[&str], found: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "target" | ".git" | "node_modules") {
                collect(root, &path, extensions, found);
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e))
            && let (Ok(relative), Ok(text)) = (path.strip_prefix(root), fs::read_to_string(&path))
        {
            found.push(File { path: relative.to_string_lossy().into_owned(), text });
        }
    }
}

impl File {
    /// A test, bench, example or fuzz target: code that no program contains.
    pub fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| matches!(part, "tests" | "fuzz" | "benches" | "testdata" | "tests.rs"))
    }

    /// The text before its unit tests, which stand last in a file.
    pub fn product(&self) -> &str {
        self.text.split("\n#[cfg(test)]\n").next().unwrap_or_default()
    }
}

/// `path: what` for each offence, or an empty text.
pub fn list(offences: impl IntoIterator<Item = String>) -> String {
    offences.into_iter().collect::<Vec<_>>().join("\n")
}
