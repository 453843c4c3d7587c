//! A rule's SSH conditions against what a client asks for.
//!
//! Each list speaks of one kind of request: programs and patterns of exec lines, subsystems, targets of forwardings, names of
//! variables. A rule is about the kinds that it names, and where it names none about those that its lists speak of.

use crate::rule::pattern_indexes;
use crate::sql_match::{Hits, hit};
use crate::table;
use crate::trace::Observe;
use crate::{Error, PatternIndex, Ssh, SshKind, glob};

#[derive(Debug)]
pub(crate) struct SshMatch {
    kinds: Vec<SshKind>,
    programs: Vec<String>,
    subsystems: Vec<String>,
    targets: Vec<String>,
    env: Vec<String>,
    pub(crate) opaque: bool,
    pub(crate) patterns: Vec<PatternIndex>,
    /// What it matches is permitted, so that it matches only what is known to be within it.
    permits: bool,
}

impl SshMatch {
    pub(crate) fn new(
        rule: &table::Rule,
        ssh: &table::Ssh,
        patterns: &[table::Pattern],
    ) -> Result<Self, Error> {
        let word =
            |word: &String| Error::Word { rule: rule.id.clone(), what: "SSH kind", word: word.clone() };
        let kind = |text: &String| {
            SshKind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| word(text))
        };
        Ok(Self {
            kinds: ssh.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            programs: ssh.programs.clone(),
            subsystems: ssh.subsystems.clone(),
            targets: ssh.targets.clone(),
            env: ssh.env.clone(),
            opaque: ssh.opaque,
            patterns: pattern_indexes(&rule.id, &ssh.patterns, patterns)?,
            permits: matches!(rule.action, table::Action::Allow),
        })
    }

    pub(crate) fn matches(&self, ssh: &Ssh<'_>, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
        observe.condition(self.is_about(ssh.kind), || format!("asks for {}", ssh.kind.word()))
            && match ssh.kind {
                SshKind::Exec => self.line_fits(ssh, hits, observe),
                SshKind::Subsystem => listed(&self.subsystems, ssh.text, "the subsystem", observe),
                SshKind::Forward | SshKind::Listen => listed(&self.targets, ssh.text, "the target", observe),
                SshKind::Env => listed(&self.env, ssh.text, "the variable", observe),
                SshKind::Agent | SshKind::Shell | SshKind::X11 => true,
            }
    }

    fn is_about(&self, kind: SshKind) -> bool {
        if !self.kinds.is_empty() {
            return self.kinds.contains(&kind);
        }
        let lines = !self.programs.is_empty() || self.opaque || !self.patterns.is_empty();
        let lists = [&self.subsystems, &self.targets, &self.env];
        if !lines && lists.iter().all(|list| list.is_empty()) {
            return true;
        }
        match kind {
            SshKind::Exec => lines,
            SshKind::Subsystem => !self.subsystems.is_empty(),
            SshKind::Forward | SshKind::Listen => !self.targets.is_empty(),
            SshKind::Env => !self.env.is_empty(),
            SshKind::Agent | SshKind::Shell | SshKind::X11 => false,
        }
    }

    fn line_fits(&self, ssh: &Ssh<'_>, hits: Hits<'_>, observe: &mut impl Observe) -> bool {
        let opaque = ssh.opaque.is_some();
        (!self.opaque || observe.condition(opaque, || "the line may run anything".into()))
            && (self.programs.is_empty() || self.programs_fit(ssh, observe))
            && (self.patterns.is_empty() || {
                // What a computed text holds, no pattern sees.
                let held = hit(hits, &self.patterns) || (opaque && !self.permits);
                observe.condition(held, || "a pattern in the line".into())
            })
    }

    fn programs_fit(&self, ssh: &Ssh<'_>, observe: &mut impl Observe) -> bool {
        let known = |program: &String| glob::any(&self.programs, program);
        let fits = if self.permits {
            ssh.opaque.is_none() && !ssh.programs.is_empty() && ssh.programs.iter().all(known)
        } else {
            ssh.opaque.is_some() || ssh.programs.iter().any(known)
        };
        observe.condition(fits, || match ssh.opaque {
            Some(why) => format!("runs {} and perhaps anything: {why}", ssh.programs.join(", ")),
            None => format!("runs {}", ssh.programs.join(", ")),
        })
    }
}

fn listed(list: &[String], text: &[u8], what: &str, observe: &mut impl Observe) -> bool {
    let text = String::from_utf8_lossy(text);
    list.is_empty() || observe.condition(glob::any(list, &text), || format!("{what} is {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Silent;

    fn rule(action: table::Action, ssh: &table::Ssh) -> SshMatch {
        let rule = table::Rule { id: "r".into(), action, ..table::Rule::default() };
        SshMatch::new(&rule, ssh, &[]).unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn ask<'a>(kind: SshKind, text: &'a str, programs: &'a [String], opaque: Option<&'a str>) -> Ssh<'a> {
        Ssh { kind, text: text.as_bytes(), value: b"", programs, opaque, approval: None }
    }

    #[test]
    fn a_line_that_may_run_anything_meets_every_rule_that_forbids_a_program_and_none_that_allows_one() {
        let named = table::Ssh { programs: words(&["rm", "mkfs*"]), ..table::Ssh::default() };
        for (programs, opaque, blocked, allowed) in [
            (&["rm"][..], None, true, true),
            (&["rm", "mkfs.ext4"], None, true, true),
            (&["sh", "rm"], None, true, false),
            (&["ls"], None, false, false),
            (&["ls"], Some("computed"), true, false),
            (&["rm"], Some("computed"), true, false),
            (&[], None, false, false),
        ] {
            let programs = words(programs);
            let ask = ask(SshKind::Exec, "…", &programs, opaque);
            for (action, expected) in [(table::Action::Block, blocked), (table::Action::Allow, allowed)] {
                let fits = rule(action.clone(), &named).matches(&ask, &[], &mut Silent);
                assert_eq!(fits, expected, "{programs:?} {opaque:?} {action:?}");
            }
        }
    }

    #[test]
    fn each_list_speaks_of_its_own_kind() {
        let sftp_or_git = table::Ssh {
            programs: words(&["git-upload-pack"]),
            subsystems: words(&["sftp"]),
            ..table::Ssh::default()
        };
        let to_web = table::Ssh { targets: words(&["web:*"]), ..table::Ssh::default() };
        let shells = table::Ssh { kinds: words(&["shell", "env"]), ..table::Ssh::default() };
        let all = table::Ssh::default();
        let git = words(&["git-upload-pack"]);
        for (kind, text, expected) in [
            (SshKind::Exec, "git-upload-pack x", [true, false, false, true]),
            (SshKind::Subsystem, "sftp", [true, false, false, true]),
            (SshKind::Subsystem, "netconf", [false, false, false, true]),
            (SshKind::Shell, "", [false, false, true, true]),
            (SshKind::Env, "LANG", [false, false, true, true]),
            (SshKind::Forward, "web:80", [false, true, false, true]),
            (SshKind::Forward, "db:80", [false, false, false, true]),
            (SshKind::Listen, "web:80", [false, true, false, true]),
            (SshKind::X11, "", [false, false, false, true]),
        ] {
            let ask = ask(kind, text, &git, None);
            let told = [&sftp_or_git, &to_web, &shells, &all]
                .map(|ssh| rule(table::Action::Block, ssh).matches(&ask, &[], &mut Silent));
            assert_eq!(told, expected, "{kind:?} {text}");
        }
    }
}
