//! Who comes in and who does not, as OpenSSH's client sees it.

use std::process::Output;

use weir_ssh::relay::Ask;

use crate::bench::{Bench, Plan, TOKEN};
use crate::driver::session::Verdict;
use crate::openssh::fed;

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `ssh` that is asked for `token`, by one method.
fn with_token(bench: &Bench, token: &str, method: &str) -> Output {
    use std::os::unix::fs::PermissionsExt;
    let askpass = bench.keys.path("askpass");
    std::fs::write(&askpass, format!("#!/bin/sh\necho '{token}'\n")).unwrap();
    std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut ssh = std::process::Command::new("ssh");
    ssh.args(bench.options_without_key()).arg(format!("-oPreferredAuthentications={method}"));
    ssh.args(["-oNumberOfPasswordPrompts=1", "127.0.0.1", "echo in"]);
    ssh.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force").output().unwrap()
}

#[test]
fn a_token_comes_as_password_and_by_keyboard_interactive() {
    let bench = Bench::new();
    for method in ["password", "keyboard-interactive"] {
        let output = with_token(&bench, TOKEN, method);
        assert_eq!(output.stdout, b"in\n", "{method}: {output:?}\n{}", bench.sshd_log());
        let output = with_token(&bench, "another", method);
        assert_eq!(output.status.code(), Some(255), "{method}");
        assert!(words(&output).contains("wrong token"), "{method}: {}", words(&output));
    }
}

#[test]
fn a_token_that_openssh_cut_is_refused_with_the_reason() {
    let bench = Bench::new();
    for method in ["password", "keyboard-interactive"] {
        let output = with_token(&bench, &"t".repeat(1023), method);
        assert_eq!(output.status.code(), Some(255));
        assert!(words(&output).contains("exactly 1023 bytes: OpenSSH's ssh cuts"), "{}", words(&output));
        let output = with_token(&bench, &"t".repeat(1022), method);
        assert!(!words(&output).contains("1023"), "{}", words(&output));
    }
}

#[test]
fn certificates_are_accepted_on_their_own_terms_alone() {
    let bench = Bench::new();
    bench.keys.make("stranger", "ed25519");
    for (options, authority, admitted, why) in [
        (&["-n", "web", "-V", "-1m:+1h"][..], "authority", true, ""),
        (&["-n", "job+web", "-V", "-1m:+1h"], "authority", true, ""),
        (&["-n", "web", "-V", "-1m:+1h", "-O", "source-address=127.0.0.0/8"], "authority", true, ""),
        (&["-n", "web", "-V", "-1m:+1h", "-O", "extension:of@example.org"], "authority", true, ""),
        (&["-n", "web", "-V", "-1m:+1h"], "stranger", false, "an authority that is not trusted"),
        (&["-n", "web", "-V", "-2h:-1h"], "authority", false, "has expired"),
        (&["-n", "web", "-V", "+1h:+2h"], "authority", false, "not valid yet"),
        (&["-n", "analyst", "-V", "-1m:+1h"], "authority", false, "other principals"),
        (&["-n", "job", "-V", "-1m:+1h"], "authority", false, "other principals"),
        (&["-V", "-1m:+1h"], "authority", false, "other principals"),
        (
            &["-n", "web", "-V", "-1m:+1h", "-O", "source-address=192.0.2.0/24"],
            "authority",
            false,
            "other addresses",
        ),
        (&["-n", "web", "-V", "-1m:+1h", "-O", "verify-required"], "authority", false, "security device"),
        (
            &["-n", "web", "-V", "-1m:+1h", "-O", "critical:of@example.org=1"],
            "authority",
            false,
            "critical option",
        ),
    ] {
        bench.keys.certify("caller", authority, &[&["-I", "it"][..], options].concat());
        let output = bench.ssh(&[], &["echo in"]).output().unwrap();
        let log = bench.gateway.log.lock().unwrap().split_off(0).join("\n");
        assert_eq!(output.stdout == b"in\n", admitted, "{options:?}: {}\n{log}", words(&output));
        assert!(admitted || log.contains(why), "{options:?}: {log}");
    }
}

#[test]
fn a_plain_key_and_a_user_that_is_none_do_not_come_in() {
    let bench = Bench::new();
    std::fs::remove_file(bench.keys.path("caller-cert.pub")).unwrap();
    let output = bench.ssh(&[], &["true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(bench.gateway.logged("a public key that is no certificate"));
    let output = bench.ssh(&["-l", "job+"], &["true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
}

#[test]
fn keys_of_every_kind_and_authorities_of_every_kind_are_verified() {
    let bench = Bench::with(Plan {
        adjust: Box::new(|settings| {
            let mut auth = (*settings.auth).clone();
            auth.authorities.clear();
            settings.auth = std::sync::Arc::new(auth);
        }),
        ..Plan::default()
    });
    // Without any authority publickey is not even offered.
    let output = bench.ssh(&[], &["true"]).output().unwrap();
    assert!(words(&output).contains("(password,keyboard-interactive)"), "{}", words(&output));
    drop(bench);
    for (caller, authority) in [
        (&["-t", "ecdsa", "-b", "256"][..], &["-t", "ecdsa", "-b", "384"][..]),
        (&["-t", "ecdsa", "-b", "384"], &["-t", "rsa", "-b", "2048"]),
        (&["-t", "rsa", "-b", "2048"], &["-t", "ecdsa", "-b", "256"]),
    ] {
        let keys = crate::driver::keys::Keys::new();
        for (name, kind) in [("caller", caller), ("authority", authority)] {
            let mut keygen = std::process::Command::new("ssh-keygen");
            crate::driver::keys::run(keygen.args(["-q", "-N", ""]).args(kind).arg("-f").arg(keys.path(name)));
        }
        keys.certify("caller", "authority", &["-I", "it", "-n", "web", "-V", "-1m:+1h"]);
        let trusted = keys.public("authority");
        let bench = Bench::with(Plan {
            adjust: Box::new(move |settings| {
                let mut auth = (*settings.auth).clone();
                auth.authorities = vec![trusted];
                settings.auth = std::sync::Arc::new(auth);
            }),
            ..Plan::default()
        });
        for suffix in ["", ".pub", "-cert.pub"] {
            let name = format!("caller{suffix}");
            std::fs::copy(keys.path(&name), bench.keys.path(&name)).unwrap();
        }
        let output = bench.ssh(&[], &["echo in"]).output().unwrap();
        let log = bench.gateway.log.lock().unwrap().join("\n");
        assert_eq!(output.stdout, b"in\n", "{caller:?} {authority:?}: {}\n{log}", words(&output));
    }
}

#[test]
fn what_a_certificate_does_not_permit_is_refused_and_its_command_replaces_any() {
    let bench = Bench::new();
    let certify = |options: &[&str]| {
        let all = [&["-I", "it", "-n", "web", "-V", "-1m:+1h"][..], options].concat();
        bench.keys.certify("caller", "authority", &all);
    };
    certify(&["-O", "clear"]);
    let output = bench.ssh(&["-W", "127.0.0.1:9"], &[]).output().unwrap();
    assert!(words(&output).contains("not permitted"), "{}", words(&output));
    let output = fed(bench.ssh(&["-tt"], &["test -t 0; echo tty=$?"]), b"");
    assert!(words(&output).contains("PTY allocation request failed"), "{output:?}");
    certify(&["-O", "force-command=echo forced"]);
    for command in [&["echo mine"][..], &[]] {
        let output = fed(bench.ssh(&[], command), b"");
        assert_eq!(output.stdout, b"forced\n", "{}", bench.sshd_log());
    }
    assert!(bench.gateway.logged("ForcedCommand"));
}

/// A gateway that has this verdict for exec lines that begin so, and lets everything else pass.
fn deciding(start: &'static [u8], verdict: Verdict) -> Bench {
    let decide = move |ask: &Ask<'_>| {
        let meant = matches!(ask, Ask::Exec { command } if command.starts_with(start));
        if meant { verdict.clone() } else { Verdict::Allow }
    };
    let adjust = |settings: &mut crate::driver::session::Settings| settings.decide = Box::new(decide);
    Bench::with(Plan { adjust: Box::new(adjust), ..Plan::default() })
}

#[test]
fn a_denied_command_runs_nowhere_and_the_client_is_told_why() {
    let bench = deciding(b"rm", Verdict::Deny("rule no-rm\r\n".to_owned()));
    let file = bench.keys.path("precious");
    std::fs::write(&file, "still here").unwrap();
    let output = bench.ssh(&[], &[&format!("rm {}", file.display())]).output().unwrap();
    assert_eq!((output.status.code(), words(&output).as_str()), (Some(126), "rule no-rm\r\n"));
    assert!(file.exists());
    assert_eq!(bench.ssh(&[], &["echo fine"]).output().unwrap().stdout, b"fine\n");
}

#[test]
fn a_held_command_waits_with_its_input_and_runs_once_when_it_is_released() {
    let bench = deciding(b"cat", Verdict::Hold("held for approval\r\n".to_owned()));
    let data = crate::openssh::noise(1 << 20);
    // It is taken when something is held, however early it lies there.
    *bench.gateway.release.lock().unwrap() = Some(Verdict::Allow);
    let output = fed(bench.ssh(&[], &["cat"]), &data);
    assert!(output.status.success() && output.stdout == data, "{}\n{}", words(&output), bench.sshd_log());
    assert!(words(&output).contains("held for approval"));
    *bench.gateway.release.lock().unwrap() = Some(Verdict::Deny("not approved\r\n".to_owned()));
    let output = fed(bench.ssh(&[], &["cat"]), b"never");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(126), &b""[..]));
    assert!(words(&output).contains("not approved"), "{}", words(&output));
}

#[test]
fn data_that_changes_its_length_on_the_way_arrives_whole() {
    // By a byte's value, so that any cut of the stream gives the same.
    let shrinks = |data: &[u8]| data.iter().copied().filter(|byte| byte % 2 == 0).collect::<Vec<u8>>();
    let grows = |data: &[u8]| {
        let twice = |byte: &u8| std::iter::repeat_n(*byte, if *byte < 64 { 2 } else { 1 });
        data.iter().flat_map(twice).collect::<Vec<u8>>()
    };
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [(&str, Change); 2] = [("shrinks", shrinks), ("grows", grows)];
    for (name, change) in changes {
        let bench = Bench::with(Plan {
            adjust: Box::new(move |settings| settings.rewrite = Some(Box::new(change))),
            ..Plan::default()
        });
        let data = crate::openssh::noise(6 << 20);
        let output = fed(bench.ssh(&[], &["cat"]), &data);
        let log = bench.gateway.log.lock().unwrap().join("\n");
        assert!(output.status.success(), "{name}: {}\n{log}", words(&output));
        assert!(output.stdout == change(&data), "{name}: {} bytes", output.stdout.len());
    }
}
