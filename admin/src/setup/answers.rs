//! What a first node is made from: flags, and answers at a terminal to what they leave out.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

use crate::cli::{SetupArgs, Template};

pub(super) struct Answers {
    pub name: String,
    pub hosts: Vec<String>,
    pub listen: SocketAddr,
    pub tls: Option<(PathBuf, PathBuf)>,
    pub issuer: String,
    pub audience: String,
    pub issuer_roots: Option<PathBuf>,
    pub templates: Vec<Template>,
    pub connection: String,
    pub upstream: String,
    pub upstream_roots: Option<PathBuf>,
    pub database: String,
    pub user: String,
    pub password: Zeroizing<String>,
    pub group: String,
    pub administrators: String,
    pub auditors: String,
}

impl Answers {
    /// # Errors
    /// The operator's: no terminal to ask what no flag says, an answer that cannot be, a file that cannot be read.
    pub(super) fn gather(args: &SetupArgs) -> Result<Self> {
        refuse_gaps(args)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let issuer = ask(args.issuer.as_ref(), "Issuer of machines' tokens (URL)", None)?;
        crate::jwks::discovery_url(&issuer)?;
        let connection = ask(args.connection.as_ref(), "Name of the first protected database", Some("main"))?;
        if connection.is_empty()
            || connection.contains(|it: char| !(it.is_ascii_alphanumeric() || "-_".contains(it)))
        {
            bail!("a connection's name is letters, digits, - and _, not {connection:?}");
        }
        let upstream = ask(args.upstream.as_ref(), "Its server (host:port)", None)?;
        if !upstream
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            bail!("a server is HOST:PORT, such as db.internal:5432, not {upstream:?}");
        }
        let database = ask(args.database.as_ref(), "Its name on that server", Some(&connection))?;
        let user = ask(args.user.as_ref(), "The role to log in as there", None)?;
        let password = match &args.password_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                Zeroizing::new(text.trim_end_matches('\n').to_owned())
            }
            None => hidden("That role's password")?,
        };
        let group = ask(args.group.as_ref(), "Who may connect: a group of their tokens", None)?;
        let templates =
            if args.templates.is_empty() { vec![Template::Secrets] } else { args.templates.clone() };
        Ok(Self {
            name: args.name.clone().unwrap_or_else(|| host.clone()),
            hosts: if args.hosts.is_empty() { vec![host] } else { args.hosts.clone() },
            listen: args.listen,
            tls: args.tls_cert.clone().zip(args.tls_key.clone()),
            issuer,
            audience: args.audience.clone(),
            issuer_roots: absolute(args.issuer_roots.as_ref())?,
            templates,
            connection,
            upstream,
            upstream_roots: absolute(args.upstream_roots.as_ref())?,
            database,
            user,
            password,
            group,
            administrators: args.administrators.clone(),
            auditors: args.auditors.clone(),
        })
    }
}

/// Without a terminal, all that is missing is told at once.
fn refuse_gaps(args: &SetupArgs) -> Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let flags = [
        ("--issuer", args.issuer.is_some()),
        ("--connection", args.connection.is_some()),
        ("--upstream", args.upstream.is_some()),
        ("--user", args.user.is_some()),
        ("--password-file", args.password_file.is_some()),
        ("--group", args.group.is_some()),
    ];
    let missing: Vec<&str> = flags.iter().filter(|(_, given)| !given).map(|(flag, _)| *flag).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("there is no terminal to ask at: give {}", missing.join(", "))
}

fn absolute(file: Option<&PathBuf>) -> Result<Option<PathBuf>> {
    let resolve =
        |file: &PathBuf| file.canonicalize().with_context(|| format!("cannot read {}", file.display()));
    file.map(resolve).transpose()
}

fn ask(given: Option<&String>, question: &str, default: Option<&str>) -> Result<String> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    if let (Some(default), false) = (default, std::io::stdin().is_terminal()) {
        return Ok(default.to_owned());
    }
    loop {
        match default {
            Some(default) => eprint!("{question} [{default}]: "),
            None => eprint!("{question}: "),
        }
        std::io::stderr().flush()?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            bail!("the terminal gave no answer");
        }
        match (line.trim(), default) {
            ("", Some(default)) => return Ok(default.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

/// Reads a line that the terminal does not show.
fn hidden(question: &str) -> Result<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    eprint!("{question}: ");
    std::io::stderr().flush()?;
    let stdin = std::io::stdin();
    let shown = tcgetattr(&stdin).context("asking the terminal")?;
    let mut quiet = shown.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    eprintln!();
    if read? == 0 {
        bail!("the terminal gave no answer");
    }
    Ok(Zeroizing::new(line.trim_end_matches('\n').to_owned()))
}
