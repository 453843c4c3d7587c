//! The setting of a test with real peers: keys, an sshd's configuration, a gateway before it, and how clients are told of it.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use weir_ssh::algorithms::Algorithms;
use weir_ssh::auth::{AuthSettings, Credential};
use weir_ssh::{Config, HostTrust, Limits, RekeyLimits};

use crate::driver::gateway::Gateway;
use crate::driver::keys::{Keys, run};
use crate::driver::session::{Settings, Verdict};

pub(crate) const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJqb2IifQ.c2lnbmF0dXJl";

pub(crate) struct Bench {
    pub keys: Keys,
    pub gateway: Gateway,
}

/// What a test has otherwise than others.
pub(crate) struct Plan {
    /// Lines of the server's configuration.
    pub sshd: String,
    pub client_side: Algorithms,
    pub upstream_side: Algorithms,
    pub rekey: RekeyLimits,
    pub host_kind: &'static str,
    pub adjust: Box<dyn FnOnce(&mut Settings)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            sshd: String::new(),
            client_side: Algorithms::default(),
            upstream_side: Algorithms::default(),
            rekey: RekeyLimits::default(),
            host_kind: "ed25519",
            adjust: Box::new(|_| {}),
        }
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Plan::default())
    }

    pub(crate) fn with(plan: Plan) -> Self {
        let keys = Keys::new();
        keys.make("gateway", plan.host_kind).make("upstream", "ed25519").make("login", "ed25519");
        keys.make("authority", "ed25519").make("caller", "ed25519");
        keys.certify("caller", "authority", &["-I", "caller-1", "-n", "web", "-V", "-1m:+1h"]);
        let user = run(Command::new("id").arg("-un")).trim().to_owned();
        let config = keys.path("sshd_config");
        std::fs::copy(keys.path("login.pub"), keys.path("authorized")).expect("a copy");
        let folder = keys.folder().display();
        let text = format!(
            "HostKey {folder}/upstream\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n\
             AllowAgentForwarding yes\nLogLevel VERBOSE\n{}",
            plan.sshd
        );
        std::fs::write(&config, text).expect("a configuration");
        if user == "root" {
            std::fs::create_dir_all("/run/sshd").expect("sshd's own folder");
        }
        let settings = settings(&keys, &user, &plan);
        let gateway = Gateway::start(adjusted(settings, plan.adjust), config);
        let known = format!("gateway {}", keys.text("gateway.pub"));
        std::fs::write(keys.path("known_hosts"), known).expect("known hosts");
        let askpass = keys.path("askpass");
        std::fs::write(&askpass, format!("#!/bin/sh\necho '{TOKEN}'\n")).expect("a script");
        std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).expect("a script");
        Self { keys, gateway }
    }

    /// OpenSSH's options for the gateway, by certificate.
    pub(crate) fn options(&self) -> Vec<String> {
        let file = |name| self.keys.path(name).display().to_string();
        let mut options = self.options_without_key();
        options.extend([
            "-i".to_owned(),
            file("caller"),
            "-o".to_owned(),
            "PreferredAuthentications=publickey".to_owned(),
        ]);
        options
    }

    pub(crate) fn options_without_key(&self) -> Vec<String> {
        let known = self.keys.path("known_hosts");
        [
            "-F none".to_owned(),
            format!("-oUserKnownHostsFile={}", known.display()),
            "-oGlobalKnownHostsFile=/dev/null".to_owned(),
            "-oStrictHostKeyChecking=yes".to_owned(),
            "-oHostKeyAlias=gateway".to_owned(),
            "-oIdentitiesOnly=yes".to_owned(),
            // Nothing that is stuck keeps a test for ever.
            "-oConnectTimeout=120".to_owned(),
            "-oServerAliveInterval=30".to_owned(),
            "-oUser=job+web".to_owned(),
            format!("-oPort={}", self.gateway.port),
        ]
        .join("\n")
        .lines()
        .flat_map(|it| it.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect()
    }

    /// `ssh`, with further options, then the host and what it is to run.
    pub(crate) fn ssh(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options()).args(options).arg("127.0.0.1").args(command);
        ssh
    }

    /// What the server behind the gateway said, for a failing test's message.
    pub(crate) fn sshd_log(&self) -> String {
        std::fs::read_to_string(self.keys.path("sshd_config").with_extension("log")).unwrap_or_default()
    }

    /// Runs it and fails with everybody's words.
    pub(crate) fn good(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let gateway = self.gateway.log.lock().expect("a lock").join("\n");
        assert!(
            output.status.success(),
            "{command:?}: {}\n{}\ngateway:\n{gateway}\nsshd:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.sshd_log()
        );
        output
    }
}

fn settings(keys: &Keys, user: &str, plan: &Plan) -> Settings {
    let limits = Limits { failure_delay_ms: 50, ..Limits::default() };
    let trust = HostTrust { pinned: vec![keys.public("upstream")], ..HostTrust::default() };
    let host = vec![keys.host("gateway")];
    let login = keys.signing("login");
    Settings {
        client: Config::server(host, plan.client_side.clone(), limits.clone(), plan.rekey)
            .expect("a configuration"),
        upstream: Config::client(trust, plan.upstream_side.clone(), limits.clone(), plan.rekey)
            .expect("a configuration"),
        auth: std::sync::Arc::new(AuthSettings {
            authorities: vec![keys.public("authority")],
            revocations: None,
            tokens: true,
            limits: limits.clone(),
        }),
        upstream_user: user.to_owned(),
        credential: Box::new(move || Credential::Key(login.clone())),
        token: TOKEN.as_bytes().to_vec(),
        decide: Box::new(|_| Verdict::Allow),
        rewrite: None,
        limits,
    }
}

fn adjusted(mut settings: Settings, adjust: Box<dyn FnOnce(&mut Settings)>) -> Settings {
    adjust(&mut settings);
    settings
}
