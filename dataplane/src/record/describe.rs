//! What the record says of a request: its words, its text and values without protected data, the facts it was decided
//! on, and a keyed hash of the original. What a statement is about is put in words once for all texts that differ in
//! literals alone; a text that may come again is scrubbed once.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::BytesMut;
use ring::hmac;
use weir_mask::{Finder, MaskKey};
use weir_policy::{Facts, MaskPlan, Request, SshKind};

/// Descriptions kept of each kind; a power of two.
const SLOTS: usize = 1024;
/// Stands for a text that could not be scrubbed.
const WITHHELD: &[u8] = b"(withheld: the pattern engine failed)";

/// A request as the record tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described<'a> {
    pub words: Cow<'a, str>,
    pub text: Cow<'a, [u8]>,
    pub bind_count: u16,
    pub binds: Cow<'a, [u8]>,
    pub facts: Cow<'a, [u8]>,
    pub original: [u8; 32],
}

/// One a core.
#[derive(Default)]
pub(crate) struct Describer {
    finder: Finder,
    text: BytesMut,
    binds: BytesMut,
    stories: Slots<Story>,
    scrubbed: Slots<Scrub>,
}

/// By a number, which may be anything but 0; a collision forgets the older.
type Slots<T> = Vec<Option<(u64, T)>>;

/// What a statement is about.
struct Story {
    words: String,
    json: Vec<u8>,
}

struct Scrub {
    plan: Arc<MaskPlan>,
    /// `None`: the text holds nothing protected, so that it is told as it is.
    text: Option<Vec<u8>>,
}

/// The slot that is `number`'s, and whether it has it.
fn slot<T>(slots: &mut Slots<T>, number: u64) -> (Option<&mut Option<(u64, T)>>, bool) {
    if slots.is_empty() {
        slots.resize_with(SLOTS, || None);
    }
    let slot = slots.get_mut(usize::try_from(number).unwrap_or(0) & (SLOTS - 1));
    let known =
        number != 0 && slot.as_deref().is_some_and(|slot| matches!(slot, Some((it, _)) if *it == number));
    (slot, known)
}

/// Whose data must not be told, and with which keys.
#[derive(Clone, Copy)]
pub(crate) struct Secrecy<'a> {
    pub plan: Option<&'a Arc<MaskPlan>>,
    pub mask_key: &'a MaskKey,
    pub record_key: &'a hmac::Key,
}

impl Describer {
    pub(crate) fn describe<'a>(
        &'a mut self,
        request: &'a Request<'_>,
        secrecy: Secrecy<'_>,
    ) -> Described<'a> {
        match request {
            Request::Connect(connect) => {
                Described { words: Cow::Borrowed(connect.protocol), ..Described::default() }
            }
            Request::Sql(sql) => self.sql(sql, secrecy),
            Request::Http(http) => self.http(http, secrecy),
            Request::Ssh(ssh) => self.ssh(ssh, secrecy),
        }
    }

    fn sql<'a>(&'a mut self, sql: &weir_policy::Sql<'a>, secrecy: Secrecy<'_>) -> Described<'a> {
        let Self { finder, binds, stories, scrubbed, text } = self;
        binds.clear();
        scrub_binds(finder, sql.binds.raw, sql.binds.count, secrecy, binds);
        let (story, known) = slot(stories, sql.facts.shape);
        let Some(story) = story else { return Described::default() };
        if !known {
            let told = Story { words: words(sql.facts), json: facts_json(sql.facts).into_bytes() };
            *story = Some((sql.facts.shape, told));
        }
        let Some((_, story)) = story else { return Described::default() };
        Described {
            words: Cow::Borrowed(&story.words),
            text: scrubbed_text(finder, scrubbed, sql, secrecy, text),
            bind_count: sql.binds.count,
            binds: Cow::Borrowed(binds),
            facts: Cow::Borrowed(&story.json),
            original: original(secrecy.record_key, &[sql.text, sql.binds.raw]),
        }
    }

    fn ssh<'a>(&'a mut self, ssh: &weir_policy::Ssh<'a>, secrecy: Secrecy<'_>) -> Described<'a> {
        let line = ssh_line(ssh);
        self.text.clear();
        let text = match scrubbed(&mut self.finder, &line, secrecy, &mut self.text) {
            Scrubbed::Clean => line.clone(),
            Scrubbed::Written => Cow::Borrowed(&self.text[..]),
            Scrubbed::Failed => Cow::Borrowed(WITHHELD),
        };
        let facts = serde_json::json!({
            "kind": ssh.kind.word(), "programs": ssh.programs, "opaque": ssh.opaque,
        });
        Described {
            words: Cow::Borrowed(ssh.kind.word()),
            text,
            bind_count: 0,
            binds: Cow::Borrowed(&[]),
            facts: Cow::Owned(facts.to_string().into_bytes()),
            original: original(secrecy.record_key, &[ssh.kind.word().as_bytes(), &line]),
        }
    }

    fn http<'a>(&'a mut self, http: &weir_policy::Http<'a>, secrecy: Secrecy<'_>) -> Described<'a> {
        let mut head = format!("{} {}", http.method, http.path);
        if let Some(query) = http.query {
            head.push('?');
            head.push_str(query);
        }
        let mut text = head.into_bytes();
        for (name, value) in http.fields.iter() {
            text.extend_from_slice(b"\r\n");
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
        }
        let head = text.len();
        if let Some(body) = http.body.whole().filter(|body| !body.is_empty()) {
            text.extend_from_slice(b"\r\n\r\n");
            text.extend_from_slice(body);
        }
        let original = original(secrecy.record_key, &[&text]);
        self.text.clear();
        let (head, body) = text.split_at(head);
        let text = match scrubbed(&mut self.finder, head, secrecy, &mut self.text) {
            Scrubbed::Clean if secrecy.plan.is_none() => Cow::Owned(text),
            Scrubbed::Clean | Scrubbed::Written => {
                scrub_body(http, body, secrecy, &mut self.text);
                Cow::Borrowed(&self.text[..])
            }
            Scrubbed::Failed => Cow::Borrowed(WITHHELD),
        };
        let seen = if http.body.whole().is_some() { "whole" } else { "unseen" };
        let facts =
            serde_json::json!({ "host": http.host, "method": http.method, "path": http.path, "body": seen });
        Described {
            words: Cow::Borrowed(http.method),
            text,
            bind_count: 0,
            binds: Cow::Borrowed(&[]),
            facts: Cow::Owned(facts.to_string().into_bytes()),
            original,
        }
    }
}

/// What is asked for, in one line.
fn ssh_line<'a>(ssh: &weir_policy::Ssh<'a>) -> Cow<'a, [u8]> {
    if ssh.kind == SshKind::Env {
        return Cow::Owned([ssh.text, b"=", ssh.value].concat());
    }
    Cow::Borrowed(ssh.text)
}

/// Appends a body with the empty line before it, its values masked as an answer's are.
fn scrub_body(http: &weir_policy::Http<'_>, body: &[u8], secrecy: Secrecy<'_>, out: &mut BytesMut) {
    let (Some(plan), Some((line, body))) = (secrecy.plan, body.split_at_checked(4)) else { return };
    out.extend_from_slice(line);
    let kind = http.fields.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| value);
    match weir_http::scrubbed_body(kind, body, plan, secrecy.mask_key) {
        Some(scrubbed) => out.extend_from_slice(&scrubbed),
        None => out.extend_from_slice(WITHHELD),
    }
}

/// The text without protected data, from before where it may come again.
fn scrubbed_text<'a>(
    finder: &mut Finder,
    slots: &'a mut Slots<Scrub>,
    sql: &weir_policy::Sql<'a>,
    secrecy: Secrecy<'_>,
    scratch: &mut BytesMut,
) -> Cow<'a, [u8]> {
    let Some(plan) = secrecy.plan else { return Cow::Borrowed(sql.text) };
    let mut scrub = || {
        scratch.clear();
        match scrubbed(finder, sql.text, secrecy, scratch) {
            Scrubbed::Clean => None,
            Scrubbed::Written => Some(scratch.to_vec()),
            Scrubbed::Failed => Some(WITHHELD.to_vec()),
        }
    };
    if sql.facts.id == 0 {
        return scrub().map_or(Cow::Borrowed(sql.text), Cow::Owned);
    }
    let (slot, known) = slot(slots, sql.facts.id);
    let Some(slot) = slot else { return Cow::Borrowed(WITHHELD) };
    if !known || slot.as_ref().is_none_or(|(_, scrub)| !Arc::ptr_eq(&scrub.plan, plan)) {
        *slot = Some((sql.facts.id, Scrub { plan: Arc::clone(plan), text: scrub() }));
    }
    let kept = slot.as_ref().and_then(|(_, scrub)| scrub.text.as_deref());
    Cow::Borrowed(kept.unwrap_or(sql.text))
}

enum Scrubbed {
    Clean,
    Written,
    Failed,
}

fn scrubbed(finder: &mut Finder, text: &[u8], secrecy: Secrecy<'_>, out: &mut BytesMut) -> Scrubbed {
    let Some(plan) = secrecy.plan else { return Scrubbed::Clean };
    match weir_mask::scrub(finder, plan, secrecy.mask_key, text, out) {
        Ok(0) => Scrubbed::Clean,
        Ok(_) => Scrubbed::Written,
        Err(_) => Scrubbed::Failed,
    }
}

/// Walks a Bind's formats and values (`Binds::raw`), scrubs each value and writes its new length before it.
fn scrub_binds(finder: &mut Finder, raw: &[u8], count: u16, secrecy: Secrecy<'_>, out: &mut BytesMut) {
    if count == 0 || secrecy.plan.is_none() {
        out.extend_from_slice(raw);
        return;
    }
    if walk_binds(finder, raw, secrecy, out).is_none() {
        // Not the encoding known here: tell nothing of it.
        out.clear();
        out.extend_from_slice(WITHHELD);
    }
}

fn walk_binds(finder: &mut Finder, raw: &[u8], secrecy: Secrecy<'_>, out: &mut BytesMut) -> Option<()> {
    let (formats, _) = raw.split_first_chunk::<2>()?;
    let head = 2 + 2 * usize::from(u16::from_be_bytes(*formats)) + 2;
    let (kept, mut rest) = raw.split_at_checked(head)?;
    out.extend_from_slice(kept);
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let start = out.len();
        out.extend_from_slice(&length.to_be_bytes());
        let Ok(length) = usize::try_from(length) else {
            rest = tail;
            continue;
        };
        let (value, tail) = tail.split_at_checked(length)?;
        let before = out.len();
        match scrubbed(finder, value, secrecy, out) {
            Scrubbed::Clean | Scrubbed::Written => {}
            Scrubbed::Failed => out.extend_from_slice(WITHHELD),
        }
        let written = u32::try_from(out.len() - before).ok()?;
        out.get_mut(start..before)?.copy_from_slice(&written.to_be_bytes());
        rest = tail;
    }
    rest.is_empty().then_some(())
}

fn original(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    hash
}

/// Kind words, space separated.
pub(crate) fn words(facts: &Facts) -> String {
    let mut words = String::new();
    for statement in facts.statements.iter() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(statement.kind.word());
    }
    words
}

/// The facts as lists and approvers see them, as JSON, written straight out: a new statement's description costs this.
pub(crate) fn facts_json(facts: &Facts) -> String {
    let mut json = String::with_capacity(192);
    // Writing into a string cannot fail.
    let _ = write!(json, "{{\"fingerprint\":\"{:016x}\",\"opaque\":", facts.short_fingerprint());
    match &facts.opaque {
        None => json.push_str("null"),
        Some(opaque) => quote(&format!("{opaque:?}"), &mut json),
    }
    json.push_str(",\"statements\":[");
    for (place, statement) in facts.statements.iter().enumerate() {
        json.push_str(if place == 0 { "{\"kind\":\"" } else { ",{\"kind\":\"" });
        json.push_str(statement.kind.word());
        json.push_str("\",\"nested\":");
        list(statement.nested.iter().map(|kind| (None, kind.word())), &mut json);
        json.push_str(",\"relations\":");
        list(statement.relations.iter().map(|relation| parts(&relation.name)), &mut json);
        json.push_str(",\"functions\":");
        list(statement.functions.iter().map(parts), &mut json);
        let _ = write!(json, ",\"filtered\":{},\"limit\":", statement.filtered);
        match statement.limit {
            None => json.push_str("null"),
            Some(limit) => drop(write!(json, "{limit}")),
        }
        json.push('}');
    }
    json.push_str("]}");
    json
}

fn parts(name: &weir_policy::Name) -> (Option<&str>, &str) {
    (name.schema.as_deref(), &name.name)
}

fn list<'a>(names: impl Iterator<Item = (Option<&'a str>, &'a str)>, json: &mut String) {
    json.push('[');
    for (place, (schema, name)) in names.enumerate() {
        if place > 0 {
            json.push(',');
        }
        json.push('"');
        if let Some(schema) = schema {
            escape(schema, json);
            json.push('.');
        }
        escape(name, json);
        json.push('"');
    }
    json.push(']');
}

fn quote(text: &str, json: &mut String) {
    json.push('"');
    escape(text, json);
    json.push('"');
}

fn escape(text: &str, json: &mut String) {
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => drop(write!(json, "\\u{:04x}", u32::from(control))),
            other => json.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_policy::{Access, Kind, Name, Opaque, Relation, StatementFacts};

    use super::*;

    #[test]
    fn the_facts_are_told_in_json_whatever_names_hold() {
        let name = |schema: Option<&str>, name: &str| Name {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        let statement = StatementFacts {
            kind: Kind::Delete,
            nested: vec![Kind::Select, Kind::Update],
            relations: vec![
                Relation { name: name(Some("s"), "a\"b\\c\nd"), access: Access::Read },
                Relation { name: name(None, "é"), access: Access::Write },
            ],
            functions: vec![name(None, "f")],
            limit: Some(3),
            ..StatementFacts::default()
        };
        let facts = Facts {
            fingerprint: std::array::from_fn(|at| if at == 7 { 255 } else { 0 }),
            statements: [statement.clone(), statement].into(),
            opaque: Some(Opaque::Unknown("\u{1}x".into())),
            ..Facts::default()
        };
        let told: serde_json::Value = serde_json::from_str(&facts_json(&facts)).unwrap();
        let one = serde_json::json!({
            "kind": "delete", "nested": ["select", "update"], "relations": ["s.a\"b\\c\nd", "é"],
            "functions": ["f"], "filtered": false, "limit": 3,
        });
        let opaque = format!("{:?}", Opaque::Unknown("\u{1}x".into()));
        let expected = serde_json::json!({
            "fingerprint": "00000000000000ff", "opaque": opaque, "statements": [one, one],
        });
        assert_eq!((told, words(&facts).as_str()), (expected, "delete delete"));
    }
}
