//! The rules of `policy/` as a core gets them: compiled, signed, verified, loaded.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use weir_policy::{
    About, Binds, Caller, Facts, Identity, MaskPlan, Moment, Policy, RecordLevel, Request, Sql, Target,
    Timestamp,
};
use weir_policy_compiler::{Compiled, Source};

/// When everything here happens.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

pub const COLUMNS: &str = include_str!("../policy/columns.toml");
pub const COMMANDS: &str = include_str!("../policy/commands.toml");
pub const PHONE: &str = include_str!("../policy/phone.toml");
pub const REDACTED: &str = include_str!("../policy/redacted.toml");
pub const PII: &str = include_str!("../policy/pii.toml");

/// One core's policy of these sources, by the way of a signed bundle.
pub fn policy(sources: &[&str]) -> Policy {
    load(&compile(sources))
}

fn compile(sources: &[&str]) -> Compiled {
    let numbered = sources.iter().enumerate();
    let files: Vec<_> = numbered
        .map(|(at, text)| Source { file: format!("{at}.toml").into(), text: (*text).to_owned() })
        .collect();
    weir_policy_compiler::compile(&files)
        .unwrap_or_else(|problems| panic!("the rules of benches/policy do not compile: {problems:#?}"))
}

fn load(compiled: &Compiled) -> Policy {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let about = About { generation: 1, created: NOW, compiler: "benches".into(), engine: String::new() };
    let bundle = weir_policy::write_bundle(&about, &compiled.tables, &compiled.databases, &key);
    let trusted = weir_policy::trusted_key(&key).unwrap();
    Policy::load(&bundle.unwrap(), &[trusted], &weir_scan::load).unwrap()
}

/// A job of some pipeline, as its token and grant describe it.
pub fn caller() -> Caller {
    let identity = Identity {
        issuer: "https://ci.example".into(),
        subject: "repo:clinic/reports:ref:refs/heads/main".into(),
        groups: vec!["jobs".into(), "clinic".into()],
        claims: vec![("repository".into(), "clinic/reports".into())],
        token_id: Some("0190a5e4-7c9f-7cc0-8d8a-3f1f6f6a2b11".into()),
        run: Some("7421993310".into()),
        purpose: None,
        expires: NOW.plus_ms(3_600_000),
    };
    let target = Target { connection: "bench".into(), role: "job".into() };
    Caller::new(Arc::new(identity), target, None, RecordLevel::Fast)
}

/// The ten PII rules.
pub fn pii() -> Arc<MaskPlan> {
    plan(&[PII])
}

/// What these sources mask.
pub fn plan(sources: &[&str]) -> Arc<MaskPlan> {
    policy(sources).mask_plan(&caller()).expect("the mask rules are about everybody")
}

/// The ten PII rules without any filter: what the pattern engine alone does.
pub fn pii_without_filters() -> Arc<MaskPlan> {
    let mut compiled = compile(&[PII]);
    compiled.tables.mask_patterns.iter_mut().for_each(|pattern| pattern.filtered = false);
    compiled.databases.mask_unfiltered.clear();
    load(&compiled).mask_plan(&caller()).expect("the mask rules are about everybody")
}

/// A simple query.
pub fn query<'a>(text: &'a [u8], facts: &'a Facts) -> Request<'a> {
    Request::Sql(Sql {
        text,
        facts,
        moment: Moment::Query,
        binds: Binds::default(),
        in_transaction: false,
        approval: None,
    })
}
