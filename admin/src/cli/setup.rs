//! `init`: what a first node is made from, by flags; what is left out is asked for at a terminal.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(crate) const INIT_HELP: &str = "Examples:
  weir-admin init                      # asks what it must know
  weir-admin init --issuer https://token.actions.githubusercontent.com --template hipaa --connection clinic \\
      --upstream db.internal:5432 --database clinic --user app --password-file app.pw --group acme/reports
  weir-admin init --config weir.toml   # weir.toml exists: makes the directories, keys and database that it names";

#[derive(Args)]
pub(crate) struct ConfigArg {
    /// The node's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/weir/weir.toml")]
    pub config: PathBuf,
}

#[derive(Args)]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// What recordings call this node [default: the host's name]
    #[arg(long)]
    pub name: Option<String>,
    /// A name or address that clients reach it by; repeatable, the first is shown in advice [default: the host's name]
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Where Postgres clients connect
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:5432")]
    pub listen: SocketAddr,
    /// The listener's certificate chain, PEM [default: one of an authority of its own]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// That certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Whose tokens machines come with: the `iss` of them
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The `aud` that their tokens have
    #[arg(long, default_value = "weir")]
    pub audience: String,
    /// Authorities of the issuer's certificate, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub issuer_roots: Option<PathBuf>,
    /// Rules to begin with; repeatable [default: secrets]
    #[arg(long = "template", value_name = "NAME")]
    pub templates: Vec<Template>,
    /// What clients call the first protected database
    #[arg(long, value_name = "NAME")]
    pub connection: Option<String>,
    /// Its server
    #[arg(long, value_name = "HOST:PORT")]
    pub upstream: Option<String>,
    /// Authorities of the server's certificate, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub upstream_roots: Option<PathBuf>,
    /// Its name there [default: the connection's]
    #[arg(long)]
    pub database: Option<String>,
    /// The role to log in as there, whose password no client sees
    #[arg(long)]
    pub user: Option<String>,
    /// A file with that password; asked for at a terminal
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Who may connect: a group of their tokens
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Whose members administer Weir
    #[arg(long, value_name = "GROUP", default_value = "weir-administrators")]
    pub administrators: String,
    /// Whose members read recordings
    #[arg(long, value_name = "GROUP", default_value = "weir-auditors")]
    pub auditors: String,
    /// Make everything below this folder instead of /, of this user
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

/// Rules that `init` can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Identifiers of patients.
    Hipaa,
    /// Cardholder data.
    Pci,
    /// Keys and tokens in data; files of the server.
    Secrets,
}

impl Template {
    pub(crate) const fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Hipaa => ("hipaa.toml", include_str!("../../templates/hipaa.toml")),
            Self::Pci => ("pci.toml", include_str!("../../templates/pci.toml")),
            Self::Secrets => ("secrets.toml", include_str!("../../templates/secrets.toml")),
        }
    }
}
