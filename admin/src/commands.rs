//! Runs one command of the command line; prints tables or JSON.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;
use weir_control::{Revocation, SessionSummary};

use crate::access::Access;
use crate::cli::{
    Answer, Approval, Approvals, Budgets, Command, Connections, Dev, Identities, KeysArg, KeysCommand,
    ServiceTableArg, Sessions, Ssh, TableArg, write_manual,
};
use crate::config::Config;
use crate::keys::{self, Keys};
use crate::serve::{self, Kill, Revoke, RunAnswer, Status};
use crate::service::Service;
use crate::state::{StoredBudget, StoredHold};
use crate::{apply, dev, doctor, sessions, setup, ship, ssh_cert, table};

pub(crate) fn run(command: Command) -> Result<ExitCode> {
    // `dev up` starts children with a parent-death signal, which follows the thread: `block_on` keeps it this one.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let outcome = runtime.block_on(dispatch(command));
    // Whoever still blocks is of no more use: everything that must be kept was kept before.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(arg) => {
            log();
            serve::run(Config::load(&arg.config)?).await?;
        }
        Command::Init(arg) => setup::run(&arg).await?,
        Command::Manual { dir } => write_manual(&dir)?,
        Command::Plan(arg) => apply::plan(&Config::load(&arg.config.config)?, arg.json).await?,
        Command::Apply(arg) => apply::apply(&Config::load(&arg.config)?).await?,
        Command::Approvals(command) => approvals(command).await?,
        Command::Budgets(Budgets::List(arg)) => budgets(&arg).await?,
        Command::Sessions(command) => return sessions(command).await,
        Command::Ssh(Ssh::Cert(arg)) => ssh_cert::run(arg).await?,
        Command::Identities(command) => identities(command).await?,
        Command::Connections(command) => connections(command).await?,
        Command::Status(arg) => status(&arg).await?,
        Command::Keys(KeysArg { command: Some(KeysCommand::Auditor { out }), .. }) => auditor_key(&out)?,
        Command::Keys(arg) => keys(&arg.table)?,
        Command::Reconcile(arg) => return sessions::reconcile(&arg),
        Command::Doctor(arg) => return doctor::run(&Config::load(&arg.config.config)?, arg.json).await,
        Command::Report(report) => return sessions::report(&report),
        Command::Ship(arg) => {
            log();
            return ship::run(&arg).await;
        }
        Command::Dev(Dev::Issuer { dir, listen }) => {
            log();
            dev::issuer(&dir, &listen).await?;
        }
        Command::Dev(Dev::Token(arg)) => say!("{}", dev::token(&arg)?),
        Command::Dev(Dev::Up(arg)) => return dev::up(arg).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn json(value: &impl Serialize) -> Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

async fn approvals(command: Approvals) -> Result<()> {
    match command {
        Approvals::List { service, all } => {
            let all = if all { "true" } else { "false" };
            let holds: Vec<StoredHold> =
                Service::new(&service.service)?.get(&["holds"], &[("all", all)]).await?;
            if service.json {
                return json(&holds);
            }
            let rows: Vec<Vec<String>> = holds.iter().map(hold_row).collect();
            let head = ["HOLD", "STATUS", "SINCE", "SUBJECT", "CONNECTION", "RULE", "YES", "COMMAND"];
            table::print(&head, &rows, "no held commands");
        }
        Approvals::Show { hold, service } => {
            let hold: StoredHold = Service::new(&service.service)?.get(&["holds", &hold], &[]).await?;
            if service.json {
                return json(&hold);
            }
            show_hold(&hold);
        }
        Approvals::Approve(Approval { answer, run, statements, rows, minutes }) => {
            let run = run.then_some(RunAnswer { statements, rows, minutes });
            answered(answer, "approve", run).await?;
        }
        Approvals::Deny(answer) => answered(answer, "deny", None).await?,
    }
    Ok(())
}

fn hold_row(hold: &StoredHold) -> Vec<String> {
    let request = &hold.request;
    vec![
        request.hold.clone(),
        hold.status.word().to_owned(),
        table::time(request.at_unix_ms),
        request.subject.clone(),
        format!("{}/{}", request.connection, request.role),
        request.rule.clone(),
        format!("{}/{}", hold.approvals.len(), request.quorum),
        table::short(&request.command, 60),
    ]
}

fn show_hold(hold: &StoredHold) {
    let request = &hold.request;
    let binds: Vec<String> = request
        .binds
        .iter()
        .map(|bind| bind.as_ref().map_or_else(|| "NULL".to_owned(), |bind| format!("{bind:?}")))
        .collect();
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    for (name, value) in [
        ("hold", request.hold.clone()),
        ("status", hold.status.word().to_owned()),
        ("rule", request.rule.clone()),
        ("why", request.message.clone()),
        ("subject", format!("{} ({})", request.subject, request.issuer)),
        ("groups", request.groups.join(", ")),
        ("run", optional(&request.run)),
        ("purpose", optional(&request.purpose)),
        ("target", format!("{}/{}", request.connection, request.role)),
        ("since", table::time(request.at_unix_ms)),
        ("expires", table::time(request.expires_unix_ms)),
        ("in transaction", if request.in_transaction { "yes: it holds locks" } else { "no" }.to_owned()),
        ("its run", request.scope.as_ref().map_or_else(|| "-".to_owned(), |scope| run_words(scope.most))),
        ("approvers", format!("{} of {}", request.quorum, request.approvers.join(", "))),
        ("approved by", hold.approvals.iter().map(|by| by.subject.clone()).collect::<Vec<_>>().join(", ")),
        ("reason", optional(&hold.reason)),
        ("facts", request.facts.to_string()),
        ("bind values", binds.join(", ")),
        ("command", request.command.clone()),
    ] {
        say!("{name:<15} {}", table::plain_lines(&value));
    }
}

fn run_words(most: weir_control::RunTerms) -> String {
    let rows = most.rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
    format!("--run releases up to {} statements like it{rows}, for {} min", most.statements, most.minutes)
}

async fn budgets(arg: &ServiceTableArg) -> Result<()> {
    let budgets: Vec<StoredBudget> = Service::new(&arg.service)?.get(&["budgets"], &[]).await?;
    if arg.json {
        return json(&budgets);
    }
    let of = |taken: u64, limit: Option<u64>| {
        limit.map_or_else(|| "-".to_owned(), |limit| format!("{taken}/{limit}"))
    };
    let row = |one: &StoredBudget| {
        vec![
            one.rule.clone(),
            one.subject.clone(),
            one.run.clone().unwrap_or_else(|| "-".to_owned()),
            of(one.statements_leased, one.statements),
            of(one.rows_leased, one.rows),
            table::time(one.until_unix_ms),
        ]
    };
    let rows: Vec<Vec<String>> = budgets.iter().map(row).collect();
    let head = ["RULE", "SUBJECT", "RUN", "STATEMENTS", "ROWS", "UNTIL"];
    table::print(&head, &rows, "no budget is in use");
    Ok(())
}

async fn answered(answer: Answer, verb: &str, run: Option<RunAnswer>) -> Result<()> {
    let body = serve::Answer { reason: answer.reason, run };
    let hold: StoredHold = Service::new(&answer.service)?.post(&["holds", &answer.hold, verb], &body).await?;
    let request = &hold.request;
    say!(
        "{} {} ({} of {} approvals)",
        request.hold,
        hold.status.word(),
        hold.approvals.len(),
        request.quorum
    );
    Ok(())
}

async fn sessions(command: Sessions) -> Result<ExitCode> {
    match command {
        Sessions::Live(arg) => live(&arg).await?,
        Sessions::Catalogue { service, filter, listed } => {
            return sessions::list_at_service(&service, &filter, &listed).await;
        }
        Sessions::Kill { session, reason, service } => {
            let ended: SessionSummary =
                Service::new(&service)?.post(&["sessions", &session, "kill"], &Kill { reason }).await?;
            say!("{} ended ({})", ended.session, ended.subject);
        }
        Sessions::Recorded(command) => return sessions::run(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn live(arg: &ServiceTableArg) -> Result<()> {
    let sessions: Vec<SessionSummary> = Service::new(&arg.service)?.get(&["sessions"], &[]).await?;
    if arg.json {
        return json(&sessions);
    }
    let row = |one: &SessionSummary| {
        vec![
            one.session.clone(),
            table::time(one.opened_unix_ms),
            one.subject.clone(),
            one.groups.join(","),
            format!("{}/{}", one.connection, one.role),
            one.client.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    table::print(
        &["SESSION", "SINCE", "SUBJECT", "GROUPS", "CONNECTION", "CLIENT"],
        &rows,
        "no live sessions",
    );
    Ok(())
}

async fn identities(command: Identities) -> Result<()> {
    match command {
        Identities::List(arg) => {
            let service = Service::new(&arg.service)?;
            let sessions: Vec<SessionSummary> = service.get(&["sessions"], &[]).await?;
            let revoked: Vec<Revocation> = service.get(&["revocations"], &[]).await?;
            list_identities(&sessions, &revoked, arg.json)?;
        }
        Identities::Revoke { issuer, subject, token, reason, service } => {
            let body = Revoke { issuer, subject, token, reason };
            let done: Revocation = Service::new(&service)?.post(&["revocations"], &body).await?;
            say!("{}", serde_json::to_string(&done)?);
        }
    }
    Ok(())
}

fn list_identities(sessions: &[SessionSummary], revoked: &[Revocation], as_json: bool) -> Result<()> {
    let mut counted: Vec<(&str, &str, usize)> = Vec::new();
    for one in sessions {
        match counted.iter_mut().find(|(issuer, subject, _)| *issuer == one.issuer && *subject == one.subject)
        {
            Some((_, _, count)) => *count += 1,
            None => counted.push((&one.issuer, &one.subject, 1)),
        }
    }
    if as_json {
        let live: Vec<Value> = counted
            .iter()
            .map(|(issuer, subject, count)| serde_json::json!({"issuer": issuer, "subject": subject, "sessions": count}))
            .collect();
        return json(&serde_json::json!({"live": live, "revoked": revoked}));
    }
    let live = counted.iter().map(|(issuer, subject, count)| {
        vec![(*subject).to_owned(), (*issuer).to_owned(), format!("{count} live sessions")]
    });
    let revoked = revoked.iter().map(|one| match one {
        Revocation::Subject { issuer, subject, before_unix_ms } => {
            vec![subject.clone(), issuer.clone(), format!("revoked before {}", table::time(*before_unix_ms))]
        }
        Revocation::Token { issuer, token_id } => {
            vec![format!("token {token_id}"), issuer.clone(), "revoked".to_owned()]
        }
    });
    let rows: Vec<Vec<String>> = live.chain(revoked).collect();
    table::print(&["SUBJECT", "ISSUER", "STATE"], &rows, "no live sessions, nothing revoked");
    Ok(())
}

async fn connections(command: Connections) -> Result<()> {
    match command {
        Connections::List(arg) => {
            let access: Access = Service::new(&arg.service)?.get(&["access"], &[]).await?;
            if arg.json {
                return json(&access.connections);
            }
            let rows: Vec<Vec<String>> = access
                .connections
                .iter()
                .map(|one| {
                    let roles = access.roles.iter().filter(|role| role.connection == one.name);
                    let roles: Vec<&str> = roles.map(|role| role.name.as_str()).collect();
                    let kind = format!("{:?}", one.protocol).to_lowercase();
                    vec![one.name.clone(), kind, format!("{:?}", one.record).to_lowercase(), roles.join(",")]
                })
                .collect();
            table::print(
                &["CONNECTION", "PROTOCOL", "RECORD", "ROLES"],
                &rows,
                "no connections; see `apply`",
            );
        }
        Connections::Show { connection, service } => {
            let access: Access = Service::new(&service.service)?.get(&["access"], &[]).await?;
            let one = access
                .connection(&connection)
                .with_context(|| format!("no connection is called {connection:?}"))?;
            let roles: Vec<_> = access.roles.iter().filter(|role| role.connection == connection).collect();
            let grants: Vec<_> =
                access.grants.iter().filter(|grant| grant.connection == connection).collect();
            json(&serde_json::json!({"connection": one, "roles": roles, "grants": grants}))?;
        }
    }
    Ok(())
}

async fn status(arg: &ServiceTableArg) -> Result<()> {
    let status: Status = Service::new(&arg.service)?.get(&["status"], &[]).await?;
    if arg.json {
        return json(&status);
    }
    say!("state version   {}", status.state_version);
    say!("connections     {}", status.connections);
    say!("held commands   {}", status.waiting);
    for issuer in &status.issuers {
        let keys = if issuer.keys { "keys fetched" } else { "NO KEYS: none of its tokens is accepted" };
        say!("issuer          {} ({keys})", issuer.issuer);
    }
    for one in &status.dataplanes {
        say!("data plane      {} (state {}, {} sessions)", one.node, one.applied_version, one.sessions);
    }
    if let Some(newest) = status.recording.newest {
        say!("recording       sealed up to segment {newest}");
    }
    for alarm in &status.recording.alarms {
        say!("recording       ALARM: {}", table::plain(alarm));
    }
    if status.dataplanes.is_empty() {
        say!("data plane      NONE LINKED");
    }
    Ok(())
}

fn auditor_key(out: &Path) -> Result<()> {
    let public = keys::make_auditor(out)?;
    say!("made {} and {}", out.display(), public.display());
    crate::output::text(&std::fs::read_to_string(&public)?);
    Ok(())
}

fn keys(arg: &TableArg) -> Result<()> {
    let config = Config::load(&arg.config.config)?;
    let keys = Keys::load(&config.admin.keys)?;
    let approval = keys.approval_public();
    if arg.json {
        return json(&serde_json::json!({"approval": approval, "mask_version": keys.mask.version}));
    }
    say!("approval (Ed25519)  {approval}");
    say!("mask key version    {}", keys.mask.version);
    Ok(())
}
