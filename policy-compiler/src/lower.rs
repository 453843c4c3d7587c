//! Sources into tables: words checked, times read, expressions compiled. Collects every problem before it gives up.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use weir_policy::{Kind, SshKind, table};
use weir_sources::{Problem, Source, unknown};

use crate::patterns;
use crate::source::{self, Word};

const ACTIONS: [&str; 4] = ["alert", "allow", "block", "hold"];
const MODES: [&str; 2] = ["enforce", "observe"];
const HOLD_EXPIRES_MS: u64 = 15 * 60_000;
const HOLD_IN_TRANSACTION_MS: u64 = 60_000;
const MAX_EXPIRES: Duration = Duration::from_hours(7 * 24);

/// One file being lowered into the common tables.
pub(crate) struct Lowering<'a> {
    pub(crate) tables: &'a mut table::Tables,
    pub(crate) problems: &'a mut Vec<Problem>,
    /// Where each id was first used.
    pub(crate) ids: &'a mut HashMap<String, String>,
    pub(crate) text: &'a Source,
}

impl Lowering<'_> {
    pub(crate) fn file(&mut self, file: &source::File) {
        for rule in &file.rule {
            self.rule(rule);
        }
        for mask in &file.mask {
            self.mask(mask);
        }
        for fallback in &file.default {
            self.fallback(fallback);
        }
    }

    pub(crate) fn problem(&mut self, span: &Range<usize>, message: impl Into<String>) {
        self.problems.push(self.text.problem(span, message));
    }

    /// Checks an id's form and that it is the only one of its name.
    pub(crate) fn id(&mut self, id: &Word) -> String {
        let text = id.get_ref();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_word) {
            self.problem(&id.span(), format!("id `{text}`: use 1 to 64 letters, digits, `-`, `_`, `.`"));
        }
        let place = format!("{}:{}", self.text.file.display(), self.text.line(id.span().start));
        match self.ids.get(text).cloned() {
            Some(first) => self.problem(&id.span(), format!("id `{text}` is already used at {first}")),
            None => {
                self.ids.insert(text.clone(), place);
            }
        }
        text.clone()
    }

    fn rule(&mut self, rule: &source::Rule) {
        let id = self.id(&rule.id);
        let span = rule.id.span();
        let action = self.action(rule);
        if rule.sql.is_none() && rule.http.is_none() && rule.ssh.is_none() && rule.connect.is_none() {
            self.problem(
                &span,
                format!("rule `{id}` matches nothing: give it `sql`, `http`, `ssh` or `connect`"),
            );
        }
        if rule.connect.is_some() && matches!(action, table::Action::Hold(_)) {
            self.problem(&span, format!("rule `{id}`: a connection cannot be held, only blocked"));
        }
        let opaque = rule.sql.as_ref().is_some_and(|sql| sql.get_ref().opaque)
            || rule.ssh.as_ref().is_some_and(|ssh| ssh.get_ref().opaque);
        if opaque && matches!(action, table::Action::Allow) {
            self.problem(
                &span,
                format!("rule `{id}`: what was not understood can be held or blocked, never allowed"),
            );
        }
        let observe = match &rule.mode {
            Some(mode) => self.word("mode", mode, &MODES) == Some("observe"),
            None => false,
        };
        let lowered = table::Rule {
            subjects: subjects(&rule.include, &rule.except),
            action,
            observe,
            requires_purpose: rule.requires_purpose,
            message: rule.message.clone(),
            budget: rule
                .budget
                .as_ref()
                .map(|budget| self.budget(&id, &budget.span(), budget.get_ref(), rule)),
            sql: rule.sql.as_ref().map(|sql| self.sql(&id, &sql.span(), sql.get_ref())),
            http: rule.http.as_ref().map(|http| self.http(&id, &http.span(), http.get_ref())),
            connect: rule.connect.as_ref().map(|connect| table::Connect {
                protocols: plain(&connect.get_ref().protocols),
                applications: plain(&connect.get_ref().applications),
            }),
            ssh: rule.ssh.as_ref().map(|ssh| self.ssh(&id, &ssh.span(), ssh.get_ref())),
            id,
        };
        self.tables.rules.push(lowered);
    }

    fn action(&mut self, rule: &source::Rule) -> table::Action {
        let id = rule.id.get_ref();
        let word = match &rule.action {
            Some(action) => self.word("action", action, &ACTIONS),
            None if rule.requires_purpose => Some("allow"),
            None => {
                self.problem(&rule.id.span(), format!("rule `{id}` has no `action`: {}", ACTIONS.join(", ")));
                None
            }
        };
        match (word, &rule.hold) {
            (Some("hold"), Some(hold)) => self.hold(id, &hold.span(), hold.get_ref()),
            (Some("hold"), None) => {
                let message = format!("rule `{id}` holds, but for whom? Add hold.approvers = [\"a-group\"]");
                self.problem(&rule.id.span(), message);
                table::Action::Block
            }
            (_, Some(hold)) => {
                self.problem(&hold.span(), format!("rule `{id}`: `hold` needs action = \"hold\""));
                table::Action::Block
            }
            (Some("alert"), None) => table::Action::Alert,
            (Some("allow"), None) => table::Action::Allow,
            (_, None) => table::Action::Block,
        }
    }

    fn hold(&mut self, id: &str, span: &Range<usize>, hold: &source::Hold) -> table::Action {
        if hold.approvers.is_empty() {
            self.problem(span, format!("rule `{id}`: hold.approvers names no group"));
        }
        if hold.quorum == Some(0) {
            self.problem(span, format!("rule `{id}`: hold.quorum must be at least 1"));
        }
        table::Action::Hold(table::Hold {
            approvers: hold.approvers.clone(),
            quorum: hold.quorum.unwrap_or(1),
            expires_ms: self.duration(hold.expires.as_ref(), HOLD_EXPIRES_MS),
            in_transaction_ms: self.duration(hold.in_transaction.as_ref(), HOLD_IN_TRANSACTION_MS),
            run: hold.run.as_ref().map(|run| self.run_limits(id, &run.span(), run.get_ref())),
        })
    }

    pub(crate) fn duration(&mut self, word: Option<&Word>, default_ms: u64) -> u64 {
        let Some(word) = word else { return default_ms };
        let message = match weir_sources::duration(word.get_ref()) {
            Ok(length) if length <= MAX_EXPIRES => return length.as_millis() as u64,
            Ok(_) => format!("`{}` is over 7d, the longest there may be", word.get_ref()),
            Err(message) => message,
        };
        self.problem(&word.span(), message);
        default_ms
    }

    fn sql(&mut self, id: &str, span: &Range<usize>, sql: &source::Sql) -> table::Sql {
        let kinds = Kind::ALL.map(Kind::word);
        let missing = self.words("missing condition", &sql.missing, &["limit", "where"]);
        let lowered = table::Sql {
            kinds: self.words("kind", &sql.kinds, &kinds),
            relations: self.names("relation", &sql.relations, 2),
            access: self.words("access", &sql.access, &["define", "read", "write"]),
            functions: self.names("function", &sql.functions, 2),
            columns: self.names("column", &sql.columns, 3),
            missing_where: missing.iter().any(|word| word == "where"),
            missing_limit: missing.iter().any(|word| word == "limit"),
            limit_over: sql.limit_over,
            statements_over: sql.statements_over,
            copy: sql.copy.as_ref().map(|copy| table::Copy {
                directions: self.words("copy direction", &copy.direction, &["from", "to"]),
                ends: self.words("copy end", &copy.end, &["client", "file", "program"]),
                query: copy.query,
            }),
            settings: plain(&sql.settings),
            opaque: sql.opaque,
            patterns: self.command_patterns(&sql.patterns),
        };
        self.universal(id, span, "sql", lowered == table::Sql::default(), sql.any);
        self.samples(id, span, "sql", sql.any, true, &sql.samples);
        lowered
    }

    fn http(&mut self, id: &str, span: &Range<usize>, http: &source::Http) -> table::Http {
        for path in &http.paths {
            if !path.get_ref().starts_with('/') {
                self.problem(&path.span(), format!("path `{}` must begin with /", path.get_ref()));
            }
            let inner = path.get_ref().strip_suffix("/**").unwrap_or(path.get_ref());
            if inner.contains("**") {
                self.problem(
                    &path.span(),
                    format!("path `{}`: `**` may only be its last segment", path.get_ref()),
                );
            }
        }
        let lowered = table::Http {
            methods: plain(&http.methods),
            hosts: plain(&http.hosts),
            paths: plain(&http.paths),
            query: claims(&http.query),
            patterns: self.command_patterns(&http.patterns),
        };
        self.universal(id, span, "http", lowered == table::Http::default(), http.any);
        self.samples(id, span, "http", http.any, true, &http.samples);
        lowered
    }

    fn ssh(&mut self, id: &str, span: &Range<usize>, ssh: &source::Ssh) -> table::Ssh {
        for program in ssh.programs.iter().filter(|program| program.get_ref().contains('/')) {
            let text = program.get_ref();
            let message =
                format!("program `{text}`: give its name without folders, which say nothing of what runs");
            self.problem(&program.span(), message);
        }
        let lowered = table::Ssh {
            kinds: self.words("kind", &ssh.kinds, &SshKind::ALL.map(SshKind::word)),
            programs: plain(&ssh.programs),
            subsystems: plain(&ssh.subsystems),
            targets: plain(&ssh.targets),
            env: plain(&ssh.env),
            opaque: ssh.opaque,
            patterns: self.command_patterns(&ssh.patterns),
        };
        self.universal(id, span, "ssh", lowered == table::Ssh::default(), ssh.any);
        // Only exec lines can be disguised.
        let lines = !ssh.programs.is_empty() || !ssh.patterns.is_empty();
        self.samples(id, span, "ssh", ssh.any, lines, &ssh.samples);
        lowered
    }

    /// An empty matcher is more likely forgotten than meant.
    fn universal(&mut self, id: &str, span: &Range<usize>, matcher: &str, is_empty: bool, any: bool) {
        match (is_empty, any) {
            (true, false) => {
                let message = format!(
                    "rule `{id}`: `{matcher}` has no condition; for every command write {matcher}.any = true"
                );
                self.problem(span, message);
            }
            (false, true) => {
                self.problem(span, format!("rule `{id}`: {matcher}.any = true allows no other condition"));
            }
            (true, true) | (false, false) => {}
        }
    }

    fn samples(
        &mut self,
        id: &str,
        span: &Range<usize>,
        matcher: &str,
        any: bool,
        disguises: bool,
        samples: &source::Samples,
    ) {
        let mut missing = Vec::new();
        if samples.positive.is_empty() {
            missing.push("match");
        }
        if samples.negative.is_empty() && !any {
            missing.push("pass");
        }
        if samples.evasion.is_empty() && !any && disguises {
            missing.push("evade");
        }
        for list in missing {
            let message = format!("rule `{id}` proves nothing: {matcher}.samples.{list} has no sample");
            self.problem(span, message);
        }
    }

    fn command_patterns(&mut self, words: &[Word]) -> Vec<String> {
        let mut texts = Vec::new();
        for word in words {
            let known = &mut self.tables.command_patterns;
            match add_pattern(known, word.get_ref(), false) {
                Ok(()) => texts.push(word.get_ref().clone()),
                Err(message) => {
                    self.problem(&word.span(), format!("pattern `{}`: {message}", word.get_ref()))
                }
            }
        }
        texts
    }

    fn fallback(&mut self, fallback: &source::Fallback) {
        let id = self.id(&fallback.id);
        if self.word("default action", &fallback.action, &["allow", "block"]) == Some("block") {
            self.tables.fallbacks.push(table::Fallback {
                id,
                subjects: subjects(&fallback.include, &fallback.except),
                message: fallback.message.clone(),
            });
        }
    }

    /// The known word that `word` is; a problem where it is none.
    pub(crate) fn word<'k>(&mut self, what: &str, word: &Word, known: &[&'k str]) -> Option<&'k str> {
        let found = known.iter().find(|known| **known == word.get_ref().as_str()).copied();
        if found.is_none() {
            self.problem(&word.span(), unknown(what, word.get_ref(), known));
        }
        found
    }

    fn words(&mut self, what: &str, words: &[Word], known: &[&str]) -> Vec<String> {
        words.iter().filter_map(|word| self.word(what, word, known)).map(str::to_owned).collect()
    }

    /// Dotted names of at most `parts` parts, none of them empty.
    pub(crate) fn names(&mut self, what: &str, words: &[Word], parts: usize) -> Vec<String> {
        for word in words {
            let text = word.get_ref();
            let form = ["schema.table.column", "schema.name"].get(usize::from(parts == 2)).copied();
            if text.split('.').count() > parts || text.split('.').any(str::is_empty) {
                let message = format!("{what} `{text}`: at most {}", form.unwrap_or_default());
                self.problem(&word.span(), message);
            }
        }
        plain(words)
    }
}

/// Adds an expression to a database's list, unless it is there.
pub(crate) fn add_pattern(known: &mut Vec<table::Pattern>, text: &str, starts: bool) -> Result<(), String> {
    if known.iter().any(|pattern| pattern.text == text) {
        return Ok(());
    }
    known.push(patterns::compile_one(text, starts)?);
    Ok(())
}

pub(crate) fn plain(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.get_ref().clone()).collect()
}

pub(crate) fn subjects(include: &source::Selector, except: &[source::Selector]) -> table::Subjects {
    table::Subjects { include: selector(include), except: except.iter().map(selector).collect() }
}

fn selector(selector: &source::Selector) -> table::Selector {
    table::Selector {
        connections: selector.connections.clone(),
        roles: selector.roles.clone(),
        groups: selector.groups.clone(),
        issuers: selector.issuers.clone(),
        subjects: selector.subjects.clone(),
        claims: claims(&selector.claims),
    }
}

fn claims(claims: &std::collections::BTreeMap<String, Vec<String>>) -> Vec<table::Claim> {
    let claim =
        |(name, values): (&String, &Vec<String>)| table::Claim { name: name.clone(), values: values.clone() };
    claims.iter().map(claim).collect()
}
