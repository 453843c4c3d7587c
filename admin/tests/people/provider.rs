//! The certified provider (npm `oidc-provider`), as a child process that the test can take down, bring up and give new keys.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub(crate) struct Provider {
    pub(crate) url: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Where the npm packages are.
pub(crate) fn modules() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/web/node_modules");
    std::env::var_os("WEIR_WEB_MODULES").map_or_else(default, PathBuf::from)
}

impl Provider {
    pub(crate) fn start(redirect_uri: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/people/provider.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .arg(redirect_uri)
            .env("WEIR_WEB_MODULES", modules())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts (`make drivers` installs what it needs)");
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let url = line(&mut output);
        assert!(url.starts_with("http://"), "oidc-provider did not start: is `make drivers` done? {url:?}");
        Self { url, child, input, output }
    }

    /// `rotate`, `down` or `up`; done when this returns.
    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
        assert_eq!(line(&mut self.output), format!("done {what}"));
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut text = String::new();
    from.read_line(&mut text).unwrap();
    text.trim().to_owned()
}
