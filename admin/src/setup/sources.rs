//! The files of a first node that people go on with: weir.toml and its connection, each line explained where it stands.

use anyhow::{Result, bail};

use super::answers::Answers;
use super::place::Place;
use super::{ISSUER_ROOTS, UPSTREAM_ROOTS};

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn given_roots(place: &Place, given: bool, name: &str) -> String {
    if given {
        format!("roots = {}\n", quoted(&place.path(name).display().to_string()))
    } else {
        String::new()
    }
}

pub(super) fn access(answers: &Answers, place: &Place) -> String {
    let roots = given_roots(place, answers.upstream_roots.is_some(), UPSTREAM_ROOTS);
    format!(
        "# One protected database. `weir-admin plan` shows what a change here would do, `weir-admin apply` does it.\n\n\
         [[connection]]\nname = {name}\nprotocol = \"postgres\"\nupstream = {upstream}\ntls = \"verify-full\"\n{roots}\
         database = {database}\nrecord = \"durable\"   # or \"fast\": on the disk within 50 ms rather than before it runs\n\n\
         # Who a client logs in as here, and who the gateway is there. apply seals the password; then the file may go.\n\
         [[role]]\nconnection = {name}\nname = \"job\"\nuser = {user}\npassword_file = {password}\n\n\
         # Whose tokens may take that role.\n[[grant]]\nconnection = {name}\nrole = \"job\"\ngroups = [{group}]\n",
        name = quoted(&answers.connection),
        upstream = quoted(&answers.upstream),
        database = quoted(&answers.database),
        user = quoted(&answers.user),
        password = quoted(&place.path("etc/weir/secrets/password").display().to_string()),
        group = quoted(&answers.group),
    )
}

/// # Errors
/// The operator's: a path that is no text.
pub(super) fn config(answers: &Answers, place: &Place, trusted: &str) -> Result<String> {
    let path = |name: &str| place.path(name).display().to_string();
    if path("").contains('"') {
        bail!("{} cannot stand in a configuration file", path(""));
    }
    let at = |name: &str| quoted(&path(name));
    let run = if place.users().is_some() { ("run/weir-admin", "run/weir-recorder") } else { ("run", "run") };
    let (uids, users) = place.users().map_or_else(Default::default, |users| {
        (
            format!(
                "allowed_uids = [{}, {}]   # the data plane's and admin's\n",
                users.data_plane, users.admin
            ),
            "users = [\"weir-dataplane\"]\n".to_owned(),
        )
    });
    let issuer_roots = given_roots(place, answers.issuer_roots.is_some(), ISSUER_ROOTS);
    Ok(format!(
        "# This node. Programs refuse keys that they do not know, naming the line. After a change:\n\
         # systemctl reload weir-dataplane (certificates, policy), or restart what the section is of.\n\n\
         [node]\nname = {name}\n# cores = 2               # default: all\nmetrics = \"127.0.0.1:9464\"   # /metrics, /healthz, /readyz for monitoring, in plain HTTP\n\n\
         [[listener]]\nprotocol = \"postgres\"\naddress = \"{listen}\"\ncert = {cert}\nkey = {key}\n\n\
         # Compiled by: weir-policy compile --key {policy_key} --out {bundle_path} {policy}\n\
         [policy]\nbundle = {bundle}\ntrusted_keys = [{trusted}]\n\n\
         [recorder]\nnode = {name}\nsocket = {recorder}\nsegments = {segments}\nsigning_key = {segment_key}\n\
         # Who can read recordings. The private half is with the auditors, not here.\nrecipients = [{auditor}]\n{uids}\
         # [recorder.retention]\n# max_age_days = 2192     # six years, as 45 CFR 164.316(b)(2) has it\n\n\
         [control]\nsocket = {control}\n{users}\n\
         [admin]\nlisten = \"127.0.0.1:8444\"\ndatabase = {database}\nkeys = {admin_keys}\naccess = {access}\n\
         administrators = [{administrators}]\nauditors = [{auditors}]\n\n\
         # Whose tokens are taken. More of these may follow.\n\
         [[issuer]]\nissuer = {issuer}\naudiences = [{audience}]\n{issuer_roots}",
        name = quoted(&answers.name),
        listen = answers.listen,
        cert = at("etc/weir/tls/listener.pem"),
        key = at("etc/weir/tls/listener.key"),
        policy_key = path("etc/weir/keys/policy.key"),
        bundle_path = path("var/lib/weir/policy/current.bundle"),
        policy = path("etc/weir/policy"),
        bundle = at("var/lib/weir/policy/current.bundle"),
        trusted = quoted(trusted),
        recorder = at(&format!("{}/recorder.sock", run.1)),
        segments = at("var/lib/weir/segments"),
        segment_key = at("etc/weir/keys/segment.key"),
        auditor = at("etc/weir/keys/auditor.key.pub"),
        control = at(&format!("{}/control.sock", run.0)),
        database = at("var/lib/weir/admin/admin.db"),
        admin_keys = at("var/lib/weir/admin/keys"),
        access = at("etc/weir/access"),
        administrators = quoted(&answers.administrators),
        auditors = quoted(&answers.auditors),
        issuer = quoted(&answers.issuer),
        audience = quoted(&answers.audience),
    ))
}
