//! `weir-admin`: the admin service of a node, and the command line that asks it.
//!
//! Never in the data path: what passes through a session passes through the data plane alone.
#![forbid(unsafe_code)]

#[macro_use]
mod output;

mod access;
mod apply;
mod authority;
mod chain;
mod cli;
mod clock;
mod commands;
mod config;
mod dev;
mod doctor;
mod jwks;
mod keys;
mod mint;
mod progress;
mod rds;
mod reach;
mod serve;
mod service;
mod session_roles;
mod sessions;
mod setup;
mod ship;
mod ssh_authorities;
mod ssh_cert;
mod state;
mod table;
mod tls;
mod users;
mod vault;
mod web;
mod when;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // Keys, credentials and what recordings hold never reach a core file.
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        eprintln!("weir-admin: cannot keep this process out of core files: {error}");
        return ExitCode::from(1);
    }
    tls::install_provider();
    match commands::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-admin: {error:#}");
            ExitCode::from(1)
        }
    }
}
