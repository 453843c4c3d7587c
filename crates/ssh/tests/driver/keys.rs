//! Keys and certificates, made by OpenSSH's own ssh-keygen in a folder that goes when it is dropped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use weir_ssh::{HostKey, PublicKey, SigningKey};

pub(crate) struct Keys {
    folder: tempfile::TempDir,
}

/// Runs it, and fails the test with its words where it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a key of `kind` (`ed25519`, `ecdsa`, `rsa`), in the form that the crate reads.
    pub(crate) fn make(&self, name: &str, kind: &str) -> &Self {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", name, "-t", kind, "-f"]).arg(self.path(name));
        if kind == "rsa" {
            command.args(["-b", "2048", "-m", "PKCS8"]);
        }
        run(&mut command);
        self
    }

    /// Certifies `name` by the key `authority`; `options` go before the key's name.
    pub(crate) fn certify(&self, name: &str, authority: &str, options: &[&str]) -> &Self {
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-s"])
            .arg(self.path(authority))
            .args(options)
            .arg(self.path(&format!("{name}.pub")));
        run(&mut command);
        self
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    pub(crate) fn signing(&self, name: &str) -> Arc<SigningKey> {
        Arc::new(SigningKey::from_file_text(&self.text(name)).expect("a key"))
    }

    pub(crate) fn public(&self, name: &str) -> PublicKey {
        PublicKey::from_line(&self.text(&format!("{name}.pub"))).expect("a key")
    }

    pub(crate) fn host(&self, name: &str) -> HostKey {
        HostKey::new(SigningKey::from_file_text(&self.text(name)).expect("a key"))
    }

    pub(crate) fn certificate_line(&self, name: &str) -> String {
        self.text(&format!("{name}-cert.pub"))
    }
}
