//! What each control asks for, and what the recording shows of it. A statement is only ever about what was counted; where
//! nothing was, it says so in as many words.

use serde::Serialize;

use super::gather::{Gathered, Sort};
use super::proofs::Proofs;
use super::verification::Verification;

/// Which catalogue of controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framework {
    Hipaa,
    Nist,
}

impl Framework {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Hipaa => "HIPAA Security Rule, 45 CFR 164.312 (technical safeguards)",
            Self::Nist => "NIST SP 800-53 Revision 5",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Control {
    pub control: &'static str,
    pub title: &'static str,
    pub statements: Vec<Statement>,
}

#[derive(Debug, Serialize)]
pub(super) struct Statement {
    pub text: String,
    /// False: the text begins with "No evidence".
    pub evidence: bool,
    pub count: u64,
    /// Files of proofs of events that it was counted from.
    pub proofs: Vec<String>,
}

/// What all statements are made from.
struct Basis<'a> {
    shows: &'a Gathered,
    verified: &'a Verification,
    proofs: &'a Proofs,
}

pub(super) fn controls(
    framework: Framework,
    shows: &Gathered,
    verified: &Verification,
    proofs: &Proofs,
) -> Vec<Control> {
    let basis = Basis { shows, verified, proofs };
    match framework {
        Framework::Nist => basis.nist(),
        Framework::Hipaa => basis.hipaa(),
    }
}

fn control(control: &'static str, title: &'static str, statements: Vec<Statement>) -> Control {
    Control { control, title, statements }
}

impl Basis<'_> {
    fn nist(&self) -> Vec<Control> {
        vec![
            control(
                "AC-2",
                "Account management",
                vec![self.identities(), self.administration(), self.minted()],
            ),
            control(
                "AC-3",
                "Access enforcement",
                vec![self.decided(), self.denied(), self.held(), self.four_eyes()],
            ),
            control("AC-6", "Least privilege", vec![self.roles(), self.masked(), self.held()]),
            control("AU-2", "Event logging", vec![self.kinds(), self.commands()]),
            control("AU-3", "Content of audit records", vec![self.content(), self.purpose()]),
            control(
                "AU-6",
                "Audit record review, analysis, and reporting",
                vec![self.reads(), self.alerts()],
            ),
            control("AU-9", "Protection of audit information", vec![self.integrity(), self.gaps()]),
            control("AU-10", "Non-repudiation", vec![self.signed(), self.tokens(), self.answered()]),
            control("AU-12", "Audit record generation", vec![self.commands(), self.outcomes(), self.gaps()]),
            control("IA-2", "Identification and authentication", vec![self.opened(), self.tokens()]),
            control("SC-7", "Boundary protection", vec![self.boundary(), self.denied(), self.bytes()]),
            control("SI-4", "System monitoring", vec![self.alerts(), self.denied(), self.gaps()]),
        ]
    }

    fn hipaa(&self) -> Vec<Control> {
        vec![
            control(
                "164.312(a)",
                "Access control",
                vec![
                    self.identities(),
                    self.roles(),
                    self.decided(),
                    self.denied(),
                    self.held(),
                    self.masked(),
                    self.purpose(),
                ],
            ),
            control(
                "164.312(b)",
                "Audit controls",
                vec![self.kinds(), self.commands(), self.reads(), self.gaps()],
            ),
            control("164.312(c)", "Integrity", vec![self.integrity(), self.signed(), self.gaps()]),
            control(
                "164.312(d)",
                "Person or entity authentication",
                vec![self.opened(), self.tokens(), self.four_eyes()],
            ),
        ]
    }

    /// `shown` where something was counted, else "No evidence" and what was looked for.
    fn statement(&self, count: u64, shown: String, looked_for: &str, sort: Option<Sort>) -> Statement {
        let evidence = count > 0;
        let text = if evidence { shown } else { format!("No evidence: {looked_for}.") };
        let proofs = sort.filter(|_| evidence).map_or_else(Vec::new, |sort| self.proofs.files(sort));
        Statement { text, evidence, count, proofs }
    }

    fn identities(&self) -> Statement {
        let count = self.shows.identities.len() as u64;
        let shown = format!(
            "{count} identities used {} sessions; each with its groups, roles, first and last use is listed under Identities.",
            self.shows.sessions_opened
        );
        self.statement(count, shown, "no identity had a session in the span", Some(Sort::Opening))
    }

    fn administration(&self) -> Statement {
        let by = &self.shows.admin_by_action;
        let changes: u64 = by.iter().filter(|(action, _)| !is_read(action)).map(|(_, count)| count).sum();
        let shown = format!(
            "{changes} administrative actions (sign-ins, access changes, revocations, answers) are in the chain."
        );
        self.statement(changes, shown, "no administrative action was recorded in the span", Some(Sort::Admin))
    }

    fn minted(&self) -> Statement {
        let count = self.shows.mints;
        let shown = format!("{count} backend credentials were minted for single sessions.");
        self.statement(
            count,
            shown,
            "no backend credential was minted; stored ones were used",
            Some(Sort::Mint),
        )
    }

    fn decided(&self) -> Statement {
        let shows = self.shows;
        let count = shows.allowed + shows.denied.count + shows.held.count;
        let shown = format!(
            "{count} commands were decided before anything of them went upstream: {} allowed, {} denied, {} held.",
            shows.allowed, shows.denied.count, shows.held.count
        );
        self.statement(count, shown, "no command was decided in the span", Some(Sort::Allowed))
    }

    fn denied(&self) -> Statement {
        let count = self.shows.denied.count;
        let rules: Vec<String> =
            self.shows.denied_by_rule.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
        let shown = format!("{count} commands were denied, by rule: {}.", rules.join(", "));
        self.statement(count, shown, "no command was denied in the span", Some(Sort::Denied))
    }

    fn held(&self) -> Statement {
        let count = self.shows.held.count;
        let shown = format!(
            "{count} commands waited for people; {} were approved. Each is listed with approvers and reason.",
            self.shows.approved
        );
        self.statement(count, shown, "no command was held in the span", Some(Sort::Held))
    }

    fn four_eyes(&self) -> Statement {
        let (approved, own) = (self.shows.approved, self.shows.approved_by_requester);
        let shown = match own {
            0 => format!("{approved} approvals were given, none by the command's own requester."),
            _ => format!("{approved} approvals were given, {own} OF THEM BY THE COMMAND'S OWN REQUESTER."),
        };
        self.statement(approved, shown, "no approval was given in the span", Some(Sort::Release))
    }

    fn roles(&self) -> Statement {
        let pairs: u64 = self.shows.identities.values().map(|who| who.access.len() as u64).sum();
        let most = self.shows.identities.values().map(|who| who.access.len()).max().unwrap_or(0);
        let shown =
            format!("{pairs} pairs of identity and role were used; no identity used more than {most} roles.");
        self.statement(pairs, shown, "no role was used in the span", Some(Sort::Opening))
    }

    fn masked(&self) -> Statement {
        let columns: u64 = self.shows.masked_columns.values().sum();
        let patterns: u64 = self.shows.masked_patterns.values().sum();
        let shown = format!(
            "{columns} cells of {} protected columns and {patterns} further values were masked before they left.",
            self.shows.masked_columns.len()
        );
        self.statement(columns + patterns, shown, "nothing was masked in the span", Some(Sort::Ledger))
    }

    fn kinds(&self) -> Statement {
        let count = self.shows.events.values().sum();
        let kinds: Vec<String> =
            self.shows.events.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let shown = format!("{count} events were recorded: {}.", kinds.join(", "));
        self.statement(count, shown, "no event was recorded in the span", Some(Sort::Opening))
    }

    fn commands(&self) -> Statement {
        let shows = self.shows;
        let count = shows.allowed + shows.denied.count + shows.held.count;
        let shown = format!(
            "{count} commands are recorded with their verdicts, in {} sessions.",
            shows.sessions_opened
        );
        self.statement(count, shown, "no command was recorded in the span", Some(Sort::Allowed))
    }

    fn content(&self) -> Statement {
        let count = self.shows.sessions_opened;
        let shown = "Each event holds its time, sequence and session; each session its identity, issuer, groups, client and \
                     upstream address, connection and role; each command its text, facts, verdict, rule and policy generation."
            .to_owned();
        self.statement(count, shown, "no session was opened in the span", Some(Sort::Opening))
    }

    fn purpose(&self) -> Statement {
        let (with, all) = (self.shows.sessions_with_purpose, self.shows.sessions_opened);
        let shown = format!("{with} of {all} sessions state a purpose of use.");
        self.statement(with, shown, "no session stated a purpose of use", Some(Sort::Opening))
    }

    fn reads(&self) -> Statement {
        let reads: u64 = self
            .shows
            .admin_by_action
            .iter()
            .filter(|(action, _)| is_read(action))
            .map(|(_, count)| count)
            .sum();
        let shown = format!(
            "{reads} reads through the admin service are in the chain. Reads of copied segment files cannot be."
        );
        let none =
            "no read through the admin service is in the chain, and reads of copied segment files cannot be";
        self.statement(reads, shown, none, Some(Sort::Admin))
    }

    fn alerts(&self) -> Statement {
        let count = self.shows.alerts;
        let shown = format!("{count} commands raised an alert by rule.");
        self.statement(count, shown, "no command raised an alert by rule in the span", Some(Sort::Alert))
    }

    fn integrity(&self) -> Statement {
        let verified = self.verified;
        let count = verified.segments.len() as u64;
        let shown = match verified.faults {
            0 => format!(
                "{count} segments verified: bytes, order, Merkle trees, signatures and links are as they were written; \
                 {} are sealed.",
                verified.sealed
            ),
            faults => {
                format!("VERIFICATION FAILED: {faults} of {count} segments are not as they were written.")
            }
        };
        self.statement(count, shown, "there is no segment", None)
    }

    fn signed(&self) -> Statement {
        let sealed = self.verified.sealed;
        let shown = format!(
            "{sealed} segments are sealed with Ed25519 signatures of trusted keys; every event listed with a proof can be \
             checked against them alone."
        );
        self.statement(sealed, shown, "no segment is sealed yet", Some(Sort::Allowed))
    }

    fn gaps(&self) -> Statement {
        let count = self.shows.gaps.count;
        if count == 0 && self.verified.faults == 0 && !self.verified.segments.is_empty() {
            let text = "No gap was recorded, and no sequence is missing.".to_owned();
            return Statement { text, evidence: true, count: 0, proofs: Vec::new() };
        }
        let bytes: u64 = self.shows.gaps.listed.iter().map(|gap| gap.missing_bytes).sum();
        let shown = format!("{count} gaps were recorded; at most {bytes} bytes of events are missing.");
        self.statement(count, shown, "no gap was recorded, but the segments did not verify", Some(Sort::Gap))
    }

    fn tokens(&self) -> Statement {
        let (with, all) = (self.shows.sessions_with_token_id, self.shows.sessions_opened);
        let shown = format!("{with} of {all} sessions name the token they rest on.");
        self.statement(with, shown, "no session names the token it rests on", Some(Sort::Opening))
    }

    fn answered(&self) -> Statement {
        let count = self.shows.approved;
        let shown = format!("{count} approvals carry the approval key's signature over the exact command.");
        self.statement(count, shown, "no approval was given in the span", Some(Sort::Release))
    }

    fn outcomes(&self) -> Statement {
        let count = self.shows.outcomes;
        let shown = format!("{count} outcomes of commands are recorded with them.");
        self.statement(count, shown, "no command ended in the span", Some(Sort::Outcome))
    }

    fn opened(&self) -> Statement {
        let count = self.shows.sessions_opened;
        let shown =
            format!("{count} sessions began, each for an identity that a trusted issuer's token proved.");
        self.statement(count, shown, "no session began in the span", Some(Sort::Opening))
    }

    fn boundary(&self) -> Statement {
        let count = self.shows.bytes.len() as u64;
        let shown =
            format!("{count} connections carried traffic through the gateway, each listed with its bytes.");
        self.statement(count, shown, "no traffic passed in the span", Some(Sort::Opening))
    }

    fn bytes(&self) -> Statement {
        let (up, down) =
            self.shows.bytes.values().fold((0, 0), |(up, down), more| (up + more.0, down + more.1));
        let shown = format!(
            "{up} bytes went to upstreams and {down} to clients; the segments' seals state the same sums for all their events."
        );
        self.statement(up + down, shown, "no byte passed in the span", None)
    }
}

fn is_read(action: &str) -> bool {
    action.starts_with("read")
}
