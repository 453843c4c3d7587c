//! Stock SSH clients through the data plane to a real sshd: as direct, for those who may, and for nobody else.

pub(crate) mod host;
mod rules;

use std::fs;
use std::process::{Command, Output, Stdio};

use crate::appliance::{Appliance, Who, program, run_with_input, text};
use host::Host;

/// Bytes that repeat nowhere near.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

#[test]
fn exec_passes_both_streams_input_and_how_it_ended() {
    let host = Host::shared();
    let output = host.ssh(&[], "echo out; echo err >&2; exit 7");
    assert_eq!(output.status.code(), Some(7), "{}\n{}", text(&output.stderr), host.sshd_log());
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("out\n", "err\n"));
    let input = noise(3 << 20);
    let mut cat = host.client("ssh");
    cat.args(["127.0.0.1", "cat; exit 3"]);
    let output = run_with_input(cat, &input);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(output.stdout == input, "{} bytes came back of {}", output.stdout.len(), input.len());
    let killed = host.ssh(&[], "kill -TERM $$");
    assert_eq!(killed.status.code(), Some(255), "{}", text(&killed.stderr));
}

#[test]
fn a_shell_on_a_terminal_answers_and_ends() {
    let host = Host::shared();
    let mut shell = host.client("ssh");
    shell.args(["-tt", "127.0.0.1"]).env("TERM", "xterm");
    let output = run_with_input(shell, b"stty size; echo a$((20+22))b; exit 5\n");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("a42b"), "{}", text(&output.stdout));
}

#[test]
fn files_go_both_ways_by_sftp_scp_of_both_kinds_and_rsync() {
    let host = Host::shared();
    let (here, there) = (host.path("here"), host.path("there"));
    fs::create_dir_all(&there).unwrap();
    let bytes = noise(2 << 20);
    fs::write(&here, &bytes).unwrap();
    let remote = |name: &str| format!("127.0.0.1:{}", there.join(name).display());
    for (kind, name) in [("-s", "by-sftp"), ("-O", "by-scp")] {
        let sent = host.client("scp").args(["-q", kind]).arg(&here).arg(remote(name)).output().unwrap();
        assert!(sent.status.success(), "{kind}: {}", text(&sent.stderr));
        let back = host.path(name);
        let got = host.client("scp").args(["-q", kind, &remote(name)]).arg(&back).output().unwrap();
        assert!(got.status.success(), "{kind}: {}", text(&got.stderr));
        assert!(fs::read(there.join(name)).unwrap() == bytes && fs::read(back).unwrap() == bytes, "{kind}");
    }
    let batch = format!("put {} {}\nls {}\n", here.display(), there.join("put").display(), there.display());
    let options = host.certified("deploy+web1");
    let mut sftp = Command::new("sftp");
    sftp.args(&options);
    sftp.args(["-b", "-", "127.0.0.1"]);
    let listed = run_with_input(sftp, batch.as_bytes());
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert!(text(&listed.stdout).contains("by-sftp") && fs::read(there.join("put")).unwrap() == bytes);
    let rsh =
        std::iter::once("ssh".to_owned()).chain(host.certified("files+web1")).collect::<Vec<_>>().join(" ");
    let synced =
        Command::new("rsync").args(["-e", &rsh]).arg(&here).arg(remote("by-rsync")).output().unwrap();
    assert!(synced.status.success(), "{}", text(&synced.stderr));
    assert!(fs::read(there.join("by-rsync")).unwrap() == bytes);
}

#[test]
fn git_pushes_and_fetches() {
    let host = Host::shared();
    let folder = tempfile::tempdir().unwrap();
    let (work, bare) = (folder.path().join("work"), folder.path().join("bare.git"));
    let rsh =
        std::iter::once("ssh".to_owned()).chain(host.certified("deploy+web1")).collect::<Vec<_>>().join(" ");
    let git = |at: &std::path::Path, words: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(at).env("GIT_SSH_COMMAND", &rsh).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]);
        let output = git.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    fs::create_dir(&work).unwrap();
    git(folder.path(), &["init", "-q", "--bare", "bare.git"]);
    git(&work, &["init", "-q"]);
    fs::write(work.join("file"), noise(300_000)).unwrap();
    git(&work, &["add", "file"]);
    git(&work, &["commit", "-qm", "one"]);
    let url = format!("ssh://127.0.0.1{}", bare.display());
    git(&work, &["push", "-q", &url, "HEAD:main"]);
    git(folder.path(), &["clone", "-q", "-b", "main", &url, "clone"]);
    let head = |at: &std::path::Path| git(at, &["rev-parse", "HEAD"]);
    assert_eq!(head(&work), head(&folder.path().join("clone")));
}

#[test]
fn tokens_log_in_as_passwords_and_by_prompt_and_wrong_ones_do_not() {
    let host = Host::shared();
    let token = host.token(Who::Job);
    for method in ["password", "keyboard-interactive"] {
        let output =
            host.with_token("deploy+web1", &token, method).args(["127.0.0.1", "echo in"]).output().unwrap();
        assert_eq!(text(&output.stdout), "in\n", "{method}: {}", text(&output.stderr));
    }
    let refused = |user: &str, token: &str, says: &str| {
        let output =
            host.with_token(user, token, "password").args(["127.0.0.1", "echo in"]).output().unwrap();
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(255) && output.stdout.is_empty(), "{user}: {told}");
        assert!(told.contains(says), "{user}: {told}");
    };
    refused("deploy+web1", "nonsense", "Permission denied");
    refused("analyst+web1", &token, "is not granted to you");
    refused("deploy+web9", &token, "there is no connection");
    refused("deploy+clinic", &token, "there is no connection");
    refused("deploy+web1", &"x".repeat(1_200), "cuts longer ones");
}

#[test]
fn certificates_count_on_their_own_terms_alone() {
    let host = Host::start();
    for (options, authority, admitted) in [
        (&["-n", "web1", "-V", "-5m:+1h"][..], "authority", true),
        (&["-n", "deploy+web1", "-V", "-5m:+1h"], "authority", true),
        (&["-n", "web1", "-V", "-5m:+1h"], "stranger", false),
        (&["-n", "web2", "-V", "-5m:+1h"], "authority", false),
        (&["-n", "deploy", "-V", "-5m:+1h"], "authority", false),
        (&["-n", "web1", "-V", "-2h:-1h"], "authority", false),
        (&["-n", "web1", "-V", "-5m:+1h", "-O", "source-address=192.0.2.0/24"], "authority", false),
        (&["-n", "web1", "-V", "-5m:+1h", "-O", "source-address=127.0.0.0/8"], "authority", true),
        (&["-V", "-5m:+1h"], "authority", false),
    ] {
        host.certify(options, authority);
        let output = host.ssh(&[], "echo in");
        assert_eq!(output.status.success(), admitted, "{options:?} by {authority}: {}", text(&output.stderr));
    }
    // The one command that a certificate is for, whatever is asked.
    host.certify(&["-n", "web1", "-V", "-5m:+1h", "-O", "force-command=echo forced"], "authority");
    let output = host.ssh(&[], "echo asked");
    assert_eq!(text(&output.stdout), "forced\n", "{}", text(&output.stderr));
    // And what it does not permit.
    host.certify(&["-n", "web1", "-V", "-5m:+1h", "-O", "no-pty"], "authority");
    let output = host.client("ssh").args(["-tt", "127.0.0.1", "tty"]).output().unwrap();
    assert!(!text(&output.stdout).contains("/dev/pts"), "{}", text(&output.stdout));
}

#[test]
fn an_upstream_that_is_not_the_pinned_one_is_not_logged_in_to() {
    let host = Host::start();
    let access = host.appliance.dir.join("access/ssh.toml");
    let file = fs::read_to_string(&access).unwrap();
    let (ours, other) =
        (fs::read_to_string(host.path("host.pub")), fs::read_to_string(host.path("stranger.pub")));
    fs::write(&access, file.replace(ours.unwrap().trim(), other.unwrap().trim())).unwrap();
    let applied = host.appliance.admin(&["apply", "--config", host.appliance.var("WEIR_CONFIG")]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let told = Appliance::until("the new pin to be in force", || {
        let output = host.ssh(&[], "true");
        (!output.status.success()).then(|| text(&output.stderr))
    });
    assert!(told.contains("none of the pinned keys"), "{told}");
    assert!(!host.sshd_log().lines().last().unwrap_or_default().contains("Accepted"));
}

fn administrator(host: &Host, arguments: &[&str]) -> Output {
    Command::new(program("weir-admin")).args(arguments).envs(&host.appliance.env).output().unwrap()
}

#[test]
fn a_session_ends_with_its_certificate_and_when_it_is_ended() {
    let host = Host::start();
    let waiting = |host: &Host| {
        let mut ssh = host.client("ssh");
        ssh.args(["127.0.0.1", "echo begun; exec sleep 90"]);
        let mut child = ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut begun = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut begun).unwrap();
        child
    };
    host.certify(&["-n", "web1", "-V", "-5m:+20s"], "authority");
    let ended = waiting(&host).wait_with_output().unwrap();
    assert!(text(&ended.stderr).contains("has expired"), "{}", text(&ended.stderr));
    host.certify(&["-n", "web1", "-V", "-5m:+1h"], "authority");
    let child = waiting(&host);
    let listed = administrator(&host, &["sessions", "live", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
    let ours = listed.as_array().into_iter().flatten().find(|one| one["connection"] == "web1");
    let session = ours.unwrap_or_else(|| panic!("{listed}"))["session"].as_str().unwrap().to_owned();
    let killed = administrator(&host, &["sessions", "kill", &session, "--reason", "test"]);
    assert!(killed.status.success(), "{}", text(&killed.stderr));
    let ended = child.wait_with_output().unwrap();
    assert!(text(&ended.stderr).contains("an administrator ended"), "{}", text(&ended.stderr));
}
