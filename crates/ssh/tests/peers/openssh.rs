//! OpenSSH's ssh, scp and sftp through the gateway to OpenSSH's sshd: nothing is lost on the way.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use weir_ssh::RekeyLimits;

use crate::bench::{Bench, Plan};

/// Bytes that repeat nowhere near.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// Runs it with `input`, and takes both streams to their ends.
pub(crate) fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child: Child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A program that has seen enough ends before its input does.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    })
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    // The bytes themselves would fill the log.
    a == b
}

#[test]
fn exec_passes_output_both_streams_and_the_exit_code() {
    let bench = Bench::new();
    let output = bench.ssh(&[], &["echo out; echo err >&2; exit 7"]).output().unwrap();
    let log = bench.gateway.log.lock().unwrap().join("\n");
    assert_eq!(output.status.code(), Some(7), "{output:?}\n{log}\n{}", bench.sshd_log());
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert!(bench.gateway.logged("ExitStatus { channel: ChannelId(0), status: 7 }"));
}

#[test]
fn a_signal_that_ended_a_program_is_passed_on() {
    let bench = Bench::new();
    let output = bench.ssh(&[], &["kill -TERM $$"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(bench.gateway.logged("ExitSignal"));
}

#[test]
fn a_shell_on_a_terminal_has_the_size_and_the_environment_that_were_asked_for() {
    let bench = Bench::with(Plan { sshd: "AcceptEnv WEIR_*\n".to_owned(), ..Plan::default() });
    let mut ssh = bench.ssh(&["-tt", "-oSetEnv=WEIR_TEST=seen"], &[]);
    ssh.env("TERM", "vt220");
    let output = fed(ssh, b"test -t 0 && echo [$TERM:$WEIR_TEST]\nexit 5\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("[vt220:seen]"), "{text}");
    assert!(bench.gateway.logged("Pty { channel: ChannelId(0), term: \"vt220\""));
    assert!(bench.gateway.logged("Env { name: \"WEIR_TEST\""));
}

#[test]
fn megabytes_go_both_ways_while_all_four_ends_change_keys() {
    let rekey = RekeyLimits { bytes: 1 << 20, ..RekeyLimits::default() };
    let bench = Bench::with(Plan { sshd: "RekeyLimit 1M\n".to_owned(), rekey, ..Plan::default() });
    let data = noise(24 << 20);
    let output = fed(bench.ssh(&["-oRekeyLimit=1M"], &["cat"]), &data);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{words}\n{}\n{:?}",
        bench.sshd_log(),
        bench.gateway.log.lock().unwrap()
    );
    assert!(equal(&output.stdout, &data));
}

#[test]
fn keys_change_on_the_gateways_demand_alone_and_on_the_peers_alone() {
    let ours = RekeyLimits { bytes: 1 << 20, ..RekeyLimits::default() };
    for (rekey, theirs) in [(ours, "default none"), (RekeyLimits::default(), "1M")] {
        let bench = Bench::with(Plan { sshd: format!("RekeyLimit {theirs}\n"), rekey, ..Plan::default() });
        let data = noise(6 << 20);
        let output = fed(bench.ssh(&["-vvv", &format!("-oRekeyLimit={theirs}")], &["cat"]), &data);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && equal(&output.stdout, &data), "{}", bench.sshd_log());
        let exchanges = words.matches("SSH2_MSG_NEWKEYS received").count();
        assert!(exchanges >= 5, "{exchanges} exchanges");
    }
}

#[test]
fn sftp_and_both_kinds_of_scp_copy_a_file_to_and_fro() {
    let bench = Bench::new();
    let data = noise(3 << 20);
    let file = |name: &str| bench.keys.path(name);
    std::fs::write(file("here"), &data).unwrap();
    let batch =
        format!("put {0} {1}\nget {1} {2}\n", show(&file("here")), show(&file("there")), show(&file("back")));
    let mut sftp = Command::new("sftp");
    sftp.args(bench.options()).args(["-b", "-", "127.0.0.1"]);
    let output = fed(sftp, batch.as_bytes());
    assert!(output.status.success(), "{output:?}\n{}", bench.sshd_log());
    assert!(equal(&std::fs::read(file("back")).unwrap(), &data));
    assert!(bench.gateway.logged("Subsystem { name: \"sftp\" }"));
    for (mode, copy) in [("-O", "old"), ("-s", "new")] {
        let there = format!("127.0.0.1:{}", show(&file(copy)));
        let mut up = Command::new("scp");
        bench.good(up.args(bench.options()).args([mode, &show(&file("here")), &there]));
        let mut down = Command::new("scp");
        bench.good(down.args(bench.options()).args([mode, &there, &show(&file("again"))]));
        assert!(equal(&std::fs::read(file("again")).unwrap(), &data), "{mode}");
    }
    assert!(bench.gateway.logged("Exec { command: "));
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn one_connection_carries_many_sessions_and_a_stalled_one_stops_no_other() {
    let bench = Bench::new();
    let socket = format!("-oControlPath={}", show(&bench.keys.path("mux")));
    let mut master = bench.ssh(&["-oControlMaster=yes", &socket, "-N"], &[]).spawn().unwrap();
    let through = |command: &str| {
        let mut ssh = bench.ssh(&["-oControlMaster=no", &socket], &[command]);
        ssh.stderr(Stdio::piped());
        ssh
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !bench.ssh(&[&socket, "-O", "check"], &[]).output().unwrap().status.success() {
        assert!(std::time::Instant::now() < deadline, "no master connection: {}", bench.sshd_log());
        std::thread::yield_now();
    }
    // Nobody reads this one: its window fills and stays full.
    let mut stalled = through("cat /dev/zero").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4096];
    stalled.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let run = |at: usize| through(&format!("echo {at}; exit {at}")).output().unwrap();
        let threads: Vec<_> = (0..8).map(|at| scope.spawn(move || run(at))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for (at, output) in outputs.iter().enumerate() {
        let code = i32::try_from(at).unwrap();
        assert_eq!((output.status.code(), &output.stdout), (Some(code), &format!("{at}\n").into_bytes()));
    }
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    bench.good(&mut bench.ssh(&[&socket, "-O", "exit"], &[]));
    master.wait().unwrap();
}

/// Answers one connection with what it said, backwards.
fn echo() -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        said.reverse();
        stream.write_all(&said).unwrap();
    });
    (port, thread)
}

#[test]
fn connections_from_the_upstream_and_to_the_client_are_passed_where_they_are_allowed() {
    let bench = Bench::new();
    let (port, thread) = echo();
    let output = fed(bench.ssh(&["-W", &format!("127.0.0.1:{port}")], &[]), b"hello");
    assert_eq!(output.stdout, b"olleh", "{output:?}");
    thread.join().unwrap();
    assert!(bench.gateway.logged("DirectTcp { host: \"127.0.0.1\""));

    let (port, thread) = echo();
    let path = show(&bench.keys.path("listen"));
    let words = format!("{path}:127.0.0.1:{port}");
    let dial = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{path}'); s.send(b'hello'); print(s.recv(5).decode())"
    );
    let output = bench
        .ssh(&["-R", &words, "-oExitOnForwardFailure=yes"], &[&format!("python3 -c \"{dial}\"")])
        .output();
    let output = output.unwrap();
    assert_eq!(output.stdout, b"olleh\n", "{output:?}\n{}", bench.sshd_log());
    thread.join().unwrap();
    assert!(bench.gateway.logged("ForwardedStreamLocal"));
}

#[test]
fn an_agent_is_reached_through_the_gateway_where_it_was_asked_for() {
    let bench = Bench::new();
    let socket = show(&bench.keys.path("agent"));
    let mut agent =
        Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !Path::new(&socket).exists() {
        assert!(std::time::Instant::now() < deadline, "no agent");
        std::thread::yield_now();
    }
    let mut add = Command::new("ssh-add");
    bench.good(add.arg(bench.keys.path("login")).env("SSH_AUTH_SOCK", &socket));
    let mut ssh = bench.ssh(&["-A"], &["ssh-add -l"]);
    let output = ssh.env("SSH_AUTH_SOCK", &socket).output().unwrap();
    agent.kill().unwrap();
    agent.wait().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("ED25519"), "{output:?}\n{}", bench.sshd_log());
    assert!(bench.gateway.logged("kind: Agent"));
}

#[test]
fn the_upstreams_own_keys_are_not_told_to_the_client() {
    let bench = Bench::new();
    let output = bench.ssh(&["-v", "-oUpdateHostKeys=yes"], &["true"]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !words.contains("hostkeys-00") && !words.contains("bad signature"),
        "{words}"
    );
    // It was sent, and ended at the gateway.
    assert!(bench.gateway.logged("Ours"));
}
