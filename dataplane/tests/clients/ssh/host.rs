//! A protected SSH host and a way to it: OpenSSH's own sshd as the tests' user on a free port, a listener of the appliance's data
//! plane in front, the keys of both, and stock clients pointed at it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, mpsc};

use crate::appliance::{Appliance, Who, text};

/// What the tests' rules say; everything else passes.
const POLICY: &str = r#"
[[rule]]
id = "ssh-no-mkfs"
for = { connections = ["web1"], roles = ["deploy"] }
action = "block"
message = "Nobody formats disks here."
ssh.programs = ["mkfs*", "shutdown"]
ssh.samples.match = ["exec mkfs.ext4 /dev/sda", "exec sudo shutdown -h now"]
ssh.samples.pass = ["exec ls /", "exec echo mkfs"]
ssh.samples.evade = ["exec $(echo mkfs) /dev/sda", "exec /sbin/mk''fs /dev/sda", "exec sh -c 'shutdown now'"]

[[rule]]
id = "ssh-restart-asks"
for = { connections = ["web1"], roles = ["deploy"] }
action = "hold"
message = "Restarts are for somebody else to see."
hold.approvers = ["privacy-officers"]
ssh.programs = ["restart-service"]
ssh.samples.match = ["exec restart-service web"]
ssh.samples.pass = ["exec ls"]
ssh.samples.evade = ["exec r=restart-service; $r web"]

[[rule]]
id = "ssh-to-echo"
for = { connections = ["web1"], roles = ["deploy"] }
action = "allow"
ssh.targets = ["127.0.0.1:*"]
ssh.samples.match = ["forward 127.0.0.1:80"]
ssh.samples.pass = ["forward db:5432", "exec ls"]

[[mask]]
id = "ssh-cards"
for = { connections = ["web1"], roles = ["analyst"] }
patterns = ["\\b4[0-9]{15}\\b"]
validator = "luhn"
method = "partial"
keep_last = 4
samples.match = ["4111111111111111"]
samples.pass = ["4111111111111112"]
samples.evade = ["card 4111111111111111."]
"#;

pub(crate) struct Host {
    pub appliance: Appliance,
    pub port: u16,
    dir: PathBuf,
    sshd: u32,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg(self.sshd.to_string()).status();
    }
}

fn good(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn keygen(path: &Path) {
    good(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-C", "", "-f"]).arg(path));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The server itself, in the foreground, with what it needs in `dir`.
fn sshd(dir: &Path, port: u16) -> u32 {
    let user = good(Command::new("id").arg("-un"));
    if user.trim() == "root" {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let at = dir.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nStrictModes no\n\
         UsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n\
         AcceptEnv LANG WEIR_*\nSetEnv PATH={at}:/usr/local/bin:/usr/bin:/bin\nMaxStartups 100\nLogLevel VERBOSE\n"
    );
    fs::write(dir.join("sshd_config"), config).unwrap();
    let log = fs::File::create(dir.join("sshd.log")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "/usr/sbin/sshd", "-D", "-e", "-f"]).arg(dir.join("sshd_config"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let (pid, started) = mpsc::channel();
    // The kernel ends it with the thread that started it, so that thread waits for its end.
    std::thread::spawn(move || {
        let mut sshd = command.spawn().expect("sshd: apt install openssh-server");
        let _gone = pid.send(sshd.id());
        let _status = sshd.wait();
    });
    started.recv().unwrap()
}

impl Host {
    /// One for all tests that break nothing.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Host> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn start() -> Self {
        let appliance = Appliance::start();
        let dir = appliance.dir.join("ssh");
        fs::create_dir(&dir).unwrap();
        for name in ["host", "login", "gateway", "authority", "caller", "stranger"] {
            keygen(&dir.join(name));
        }
        fs::copy(dir.join("login.pub"), dir.join("authorized")).unwrap();
        let script = dir.join("restart-service");
        fs::write(&script, "#!/bin/sh\necho restarted $1\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let upstream = free_port();
        let sshd = sshd(&dir, upstream);
        let host = Self { port: free_port(), dir, sshd, appliance };
        host.protect(upstream);
        Appliance::until("the way to the host", || host.ssh(&[], "true").status.success().then_some(()));
        host
    }

    /// Puts the gateway in front.
    fn protect(&self, upstream: u16) {
        let (dir, user) = (self.dir.display(), good(Command::new("id").arg("-un")));
        let host_key = fs::read_to_string(self.dir.join("host.pub")).unwrap();
        let mut access = format!(
            "[[connection]]\nname = \"web1\"\nprotocol = \"ssh\"\nupstream = \"127.0.0.1:{upstream}\"\nhost_keys = [\"{}\"]\n",
            host_key.trim()
        );
        for (role, groups) in [("deploy", "jobs"), ("files", "jobs"), ("analyst", "analysts")] {
            access += &format!(
                "[[role]]\nconnection = \"web1\"\nname = \"{role}\"\nuser = \"{}\"\nkey_file = \"{dir}/login\"\n\
                 [[grant]]\nconnection = \"web1\"\nrole = \"{role}\"\ngroups = [\"{groups}\"]\n",
                user.trim()
            );
        }
        for role in ["deploy", "files"] {
            access +=
                &format!("[[grant]]\nconnection = \"web1\"\nrole = \"{role}\"\nsubjects = [\"caller-1\"]\n");
        }
        fs::write(self.appliance.dir.join("access/ssh.toml"), access).unwrap();
        let config = self.appliance.var("WEIR_CONFIG");
        let applied = self.appliance.admin(&["apply", "--config", config]);
        assert!(applied.status.success(), "{}", text(&applied.stderr));
        self.appliance.add_policy("ssh.toml", POLICY);
        self.appliance.add_to_config(&format!(
            "[[listener]]\nprotocol = \"ssh\"\naddress = \"127.0.0.1:{}\"\nhost_keys = [\"{dir}/gateway\"]\n\
             user_authorities = [\"{dir}/authority.pub\"]\n",
            self.port
        ));
        let known = format!("gateway {}", fs::read_to_string(self.dir.join("gateway.pub")).unwrap());
        fs::write(self.path("known_hosts"), known).unwrap();
        self.certify(&["-n", "web1", "-V", "-5m:+1h"], "authority");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Certifies the caller's key anew.
    pub(crate) fn certify(&self, options: &[&str], authority: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-I", "caller-1", "-s"]).arg(self.path(authority)).args(options);
        good(command.arg(self.path("caller.pub")));
    }

    /// OpenSSH's options for the gateway, without how to log in.
    pub(crate) fn options(&self, user: &str) -> Vec<String> {
        let known = self.path("known_hosts");
        let mut options: Vec<String> = ["-F", "none"].map(str::to_owned).into();
        for option in [
            format!("UserKnownHostsFile={}", known.display()),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "HostKeyAlias=gateway".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "NumberOfPasswordPrompts=1".to_owned(),
            // Nothing that is stuck keeps a test for ever.
            "ConnectTimeout=100".to_owned(),
            format!("User={user}"),
            format!("Port={}", self.port),
        ] {
            options.extend(["-o".to_owned(), option]);
        }
        options
    }

    /// The same, by the caller's certificate.
    pub(crate) fn certified(&self, user: &str) -> Vec<String> {
        let mut options = self.options(user);
        let key = self.path("caller").display().to_string();
        options.extend(["-i".to_owned(), key]);
        for option in ["PreferredAuthentications=publickey", "LogLevel=ERROR"] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// A client by certificate, told where to go; what it is to do there is added.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(self.certified("deploy+web1")).stdin(Stdio::null());
        command
    }

    pub(crate) fn ssh(&self, options: &[&str], line: &str) -> Output {
        self.client("ssh").args(options).args(["127.0.0.1", line]).output().unwrap()
    }

    /// By a token as a password, which stock `ssh` asks a program for.
    pub(crate) fn with_token(&self, user: &str, token: &str, method: &str) -> Command {
        let ask = self.path("ask");
        if !ask.exists() {
            fs::write(&ask, "#!/bin/sh\nprintf '%s\\n' \"$WEIR_TEST_TOKEN\"\n").unwrap();
            fs::set_permissions(&ask, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let mut command = Command::new("ssh");
        command.args(self.options(user)).args(["-o", &format!("PreferredAuthentications={method}")]);
        command.env("SSH_ASKPASS", &ask).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        command.env("WEIR_TEST_TOKEN", token).stdin(Stdio::null());
        command
    }

    /// A token of an identity that OpenSSH's client does not cut.
    pub(crate) fn token(&self, who: Who) -> String {
        let token = self.appliance.token(who);
        assert!(token.len() < 1023, "{} bytes", token.len());
        token
    }

    /// What the server behind the gateway said, for a failing test's message.
    pub(crate) fn sshd_log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }
}
