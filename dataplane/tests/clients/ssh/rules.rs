//! What rules come to over SSH: denied, held, masked; and that the record says what the client saw.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::host::Host;
use super::noise;
use crate::appliance::{Appliance, Who, program, run_with_input, text};

#[test]
fn a_denied_program_says_so_on_stderr_and_the_connection_goes_on() {
    let host = Host::shared();
    for line in ["mkfs.ext4 /dev/null", "$(printf mkfs) x", "sh -c 'shutdown now'", "sudo mk\\fs x"] {
        let output = host.ssh(&[], line);
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(126), 0), "{line}: {told}");
        assert!(
            told.contains("weir: denied: Nobody formats disks here. (rule ssh-no-mkfs)"),
            "{line}: {told}"
        );
    }
    assert_eq!(text(&host.ssh(&[], "echo mkfs").stdout), "mkfs\n");
    // Of two programs on one connection, the other runs.
    let socket = host.path("master");
    let master = ["-o", &format!("ControlPath={}", socket.display())];
    let mut first = host.client("ssh");
    first.args(master).args(["-o", "ControlMaster=yes", "127.0.0.1", "echo up; exec sleep 60"]);
    let mut first = first.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    Appliance::until("the shared connection", || socket.exists().then_some(()));
    assert_eq!(host.ssh(&master, "mkfs.ext4 x").status.code(), Some(126));
    assert_eq!(text(&host.ssh(&master, "echo second").stdout), "second\n");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn forwarding_goes_where_a_rule_lets_it_and_agents_and_x11_nowhere() {
    let host = Host::shared();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = std::thread::spawn(move || {
        let (mut from, _) = listener.accept().unwrap();
        let mut to = from.try_clone().unwrap();
        std::io::copy(&mut from, &mut to).unwrap();
    });
    let mut through = host.client("ssh");
    through.args(["-W", &format!("127.0.0.1:{port}"), "127.0.0.1"]);
    let sent = noise(100_000);
    let output = run_with_input(through, &sent);
    assert!(output.stdout == sent, "{} bytes: {}", output.stdout.len(), text(&output.stderr));
    echo.join().unwrap();
    let refused = host.client("ssh").args(["-W", "localhost:1", "127.0.0.1"]).output().unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let listen = host.ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "10.0.0.1:0:localhost:1"], "echo in");
    assert!(!listen.status.success() && listen.stdout.is_empty(), "{}", text(&listen.stderr));
    let agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(host.path("agent")).stdout(Stdio::null()).spawn();
    let mut agent = agent.unwrap();
    Appliance::until("the agent", || host.path("agent").exists().then_some(()));
    let mut with_agent = host.client("ssh");
    with_agent.env("SSH_AUTH_SOCK", host.path("agent")).args([
        "-A",
        "127.0.0.1",
        "echo \"[$SSH_AUTH_SOCK]\"",
    ]);
    let output = with_agent.output().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(text(&output.stdout), "[]\n", "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("(rule (forwarding))"), "{}", text(&output.stderr));
}

fn pending(host: &Host) -> Vec<String> {
    let output = host.appliance.admin(&["approvals", "list", "--json"]);
    let list = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    list.as_array().unwrap().iter().map(|hold| hold["request"]["hold"].as_str().unwrap().to_owned()).collect()
}

/// A client whose program is held, and the hold's id.
fn held(host: &Host, options: &[&str]) -> (Child, String) {
    let known = pending(host);
    let mut ssh = host.client("ssh");
    ssh.args(options).args(["127.0.0.1", "restart-service web"]);
    let child = ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let hold = Appliance::until("the program to be held", || {
        pending(host).into_iter().find(|id| !known.contains(id))
    });
    (child, hold)
}

#[test]
fn a_held_program_waits_while_others_run_and_goes_on_when_people_say_so() {
    let host = Host::shared();
    let (child, hold) = held(host, &[]);
    assert_eq!(text(&host.ssh(&[], "echo meanwhile").stdout), "meanwhile\n");
    let approved = host.appliance.admin(&["approvals", "approve", &hold, "--reason", "test"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    let done = child.wait_with_output().unwrap();
    let told = text(&done.stderr);
    assert_eq!(text(&done.stdout), "restarted web\n", "{told}");
    assert!(told.contains("weir: held: Restarts are for somebody else to see. (approval "), "{told}");
    assert!(told.contains("weir: approved"), "{told}");
    let (child, hold) = held(host, &[]);
    let denied = host.appliance.admin(&["approvals", "deny", &hold, "--reason", "not today"]);
    assert!(denied.status.success(), "{}", text(&denied.stderr));
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(126), 0));
    assert!(text(&done.stderr).contains("not today"), "{}", text(&done.stderr));
    // Whoever leaves takes its program along.
    let (mut child, hold) = held(host, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    Appliance::until("the hold to be withdrawn", || (!pending(host).contains(&hold)).then_some(()));
}

#[test]
fn what_a_program_says_is_masked_and_keeps_its_length() {
    let host = Host::shared();
    let token = host.token(Who::Analyst);
    let masked = |line: &str| {
        let mut ssh = host.with_token("analyst+web1", &token, "password");
        let output = ssh.args(["127.0.0.1", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (out, _) = masked("echo card 4111111111111111 paid");
    assert!(out.ends_with("1111 paid\n") && !out.contains("41111111"), "{out}");
    assert_eq!(out.len(), "card 4111111111111111 paid\n".len());
    let (out, errors) = masked("echo 4111111111111111 >&2; echo done");
    assert!(out == "done\n" && !errors.contains("4111111111111111"), "{out} {errors}");
    // A prompt comes, although it might be the beginning of a number.
    assert_eq!(masked("printf 'go? '; head -c 0").0, "go? ");
}

#[test]
fn the_record_says_what_was_asked_decided_and_seen() {
    let host = Host::start();
    let output = host.ssh(&[], "head -c 300000 /dev/urandom; exit 4");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 300_000));
    host.ssh(&[], "mkfs.ext4 x");
    let mut shell = host.client("ssh");
    shell.args(["-tt", "127.0.0.1"]).env("TERM", "xterm");
    let shown = run_with_input(shell, b"echo a$((20+22))b; exit\n");
    let admin = |arguments: &[&str]| host.appliance.admin(arguments);
    let sessions = Appliance::until("three sessions in the record", || {
        let listed = admin(&["sessions", "list", "--connection", "web1", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).ok()?;
        let closed = listed.as_array()?.iter().filter(|one| !one["closed_unix_ms"].is_null());
        (closed.count() >= 4).then_some(listed)
    });
    let replayed = |session: &str| {
        let output = Command::new(program("weir-admin"))
            .args(["sessions", "replay", session, "--bytes"])
            .envs(&host.appliance.env)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    };
    let ids: Vec<&str> =
        sessions.as_array().unwrap().iter().filter_map(|one| one["session"].as_str()).collect();
    let hashes: Vec<_> = ids.iter().map(|id| digest(&SHA256, &replayed(id)).as_ref().to_vec()).collect();
    for seen in [&output.stdout, &shown.stdout] {
        assert!(
            hashes.contains(&digest(&SHA256, seen).as_ref().to_vec()),
            "{} bytes are in no session",
            seen.len()
        );
    }
    let all: String = ids.iter().map(|id| text(&admin(&["sessions", "replay", id]).stdout)).collect();
    for expected in [
        "> exec head -c 300000",
        "ended {\"exit_status\":4,",
        "DENIED by rule ssh-no-mkfs",
        "{\"action\":\"terminal\",\"term\":\"xterm\"",
        "a42b",
    ] {
        assert!(all.contains(expected), "{expected}: {all}");
    }
    let cast = ids.iter().map(|id| admin(&["sessions", "export", "--format", "asciicast", "--session", id]));
    let casts: String = cast.map(|output| text(&output.stdout)).collect();
    assert!(casts.contains("a42b") && casts.contains("\"o\""), "{casts}");
}
