//! What commands about sessions take: lists, searches, replays and proofs of recorded ones, and what is asked of the service.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use weir_segment::{Kind, RingId};

use super::auditors::RECONCILE_HELP;
use super::{ExportArgs, ReconcileArgs, ReplayArgs, ServiceArg, ServiceTableArg, VerifyArgs};
use crate::sessions::filter::{ListFilter, RequestFilter, SessionFilter};

/// Where segments are, and who may read inside.
#[derive(Args)]
pub(crate) struct SegmentsArg {
    /// Directory of sealed and open segments
    #[arg(long, env = "WEIR_SEGMENTS", value_name = "DIR", default_value = "/var/lib/weir/segments")]
    pub segments: PathBuf,
    /// An auditor's private key, to read what was encrypted to it. May be given several times; in the variable, with
    /// colons between
    #[arg(long = "auditor-key", env = "WEIR_AUDITOR_KEY", value_name = "FILE", value_delimiter = ':')]
    pub auditor_keys: Vec<PathBuf>,
}

impl Recorded {
    /// What a verb reads; `check-proof` reads none.
    pub(crate) const fn segments(&self) -> Option<&SegmentsArg> {
        match self {
            Self::List { segments, .. }
            | Self::Reindex { segments, .. }
            | Self::Watch { segments, .. }
            | Self::Show { segments, .. }
            | Self::Search { segments, .. } => Some(segments),
            Self::Verify(arg) => Some(&arg.segments),
            Self::Export(arg) => Some(&arg.segments),
            Self::Prove(arg) => Some(&arg.segments),
            Self::Reconcile(arg) => Some(&arg.segments),
            Self::Replay(arg) => Some(&arg.segments),
            Self::CheckProof { .. } => None,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Sessions {
    #[command(flatten)]
    Recorded(Recorded),
    /// Sessions that are open now
    #[command(after_help = "Example:\n  weir-admin sessions live")]
    Live(ServiceTableArg),
    /// Recorded sessions as the admin service lists them, open ones too: no segment is read
    #[command(
        after_help = "The service follows what the recorder writes. Where segments are encrypted, names are those that data planes \
                      told it.\n\nExamples:\n  weir-admin sessions catalogue --state open\n  \
                      weir-admin sessions catalogue --subject ci-4711 --newest 10"
    )]
    Catalogue {
        #[command(flatten)]
        service: ServiceTableArg,
        #[command(flatten)]
        filter: SessionFilter,
        #[command(flatten)]
        listed: ListFilter,
    },
    /// End a live session
    #[command(after_help = "Example:\n  weir-admin sessions kill 01HX --reason 'runaway job'")]
    Kill {
        session: String,
        #[arg(long, default_value = "ended by an administrator")]
        reason: String,
        #[command(flatten)]
        service: ServiceArg,
    },
}

/// Verbs that read segment files alone.
#[derive(Subcommand)]
pub(crate) enum Recorded {
    /// Recorded sessions, oldest first
    #[command(after_help = "Example:\n  weir-admin sessions list --subject ci-4711")]
    List {
        #[command(flatten)]
        segments: SegmentsArg,
        #[command(flatten)]
        filter: SessionFilter,
        #[command(flatten)]
        listed: ListFilter,
        /// A catalogue of these segments (made where there is none), which is brought up to date and read instead of all of them
        #[arg(long, env = "WEIR_CATALOGUE", value_name = "FILE")]
        catalogue: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a catalogue of sessions anew from segments
    #[command(after_help = "Example:\n  weir-admin sessions reindex --catalogue sessions.db")]
    Reindex {
        #[command(flatten)]
        segments: SegmentsArg,
        /// The catalogue
        #[arg(long, env = "WEIR_CATALOGUE", value_name = "FILE")]
        catalogue: PathBuf,
    },
    /// One session: who, where, and what was decided
    #[command(after_help = "Example:\n  weir-admin sessions show 01HX")]
    Show {
        /// Session id, or enough of its beginning
        session: String,
        #[command(flatten)]
        segments: SegmentsArg,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Commands by table, rule, verdict, kind, session or time, and by their text
    #[command(
        after_help = "Everything but the text is found by the segments' indexes; the text is looked at in what they leave.\n\n\
                      Examples:\n  weir-admin sessions search 'delete from patients'\n  \
                      weir-admin sessions search --table patients --verdict deny --since 2026-11-01"
    )]
    Search {
        /// Text to look for, upper and lower case alike
        #[arg(required_unless_present = "request")]
        text: Option<String>,
        #[command(flatten)]
        requests: RequestFilter,
        #[command(flatten)]
        segments: SegmentsArg,
        #[command(flatten)]
        filter: SessionFilter,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What the client sent and saw
    #[command(
        after_help = "Examples:\n  weir-admin sessions replay 01HX\n  weir-admin sessions replay 01HX --speed 4 --from 90s\n  \
                            weir-admin sessions replay 01HX --serve\n  weir-admin sessions replay 01HX --bytes | sha256sum"
    )]
    Replay(ReplayArgs),
    /// Follow a session while it is written, to its end; without one, what happens in all of them
    #[command(
        after_help = "Without a key that opens the segments it shows when, what kind of event, the verdict and how many bytes.\n\n\
                      Example:\n  weir-admin sessions watch 01HX"
    )]
    Watch {
        /// Session id, or enough of its beginning
        session: Option<String>,
        #[command(flatten)]
        segments: SegmentsArg,
    },
    /// Check every segment's bytes, order, tree and signature
    #[command(after_help = "Example:\n  weir-admin sessions verify --key /etc/weir/segment.pub")]
    Verify(VerifyArgs),
    /// One event with its proof, as JSON: nothing else of the segment is in it
    #[command(
        after_help = "The events of a command and their sequences are in `sessions export --session ID`.\n\n\
                            Examples:\n  weir-admin sessions prove 01HX --command 3 > command-3.proof\n  \
                            weir-admin sessions prove 01HX --command 3 --kind outcome > outcome-3.proof\n  \
                            weir-admin sessions prove 01HX --sequence 17 > event-17.proof"
    )]
    Prove(ProveArgs),
    /// Check the proof of one event: needs the file and a public key, no segments
    #[command(
        after_help = "Example:\n  weir-admin sessions check-proof command-3.proof --key /etc/weir/segment.pub"
    )]
    CheckProof {
        /// What `prove` printed
        file: PathBuf,
        /// The node's public segment key
        #[arg(long, visible_alias = "trusted-key", env = "WEIR_VERIFY_KEY", value_name = "FILE")]
        key: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// A recording, or a span of it, for other programs
    #[command(after_help = "Examples:\n  weir-admin sessions export --session 01HX > session.jsonl\n  \
                            weir-admin sessions export --format ocsf --from 2026-01-01 --until 2026-02-01 > january.jsonl\n  \
                            weir-admin sessions export --format parquet --out events.parquet")]
    Export(ExportArgs),
    /// The same as `weir-admin reconcile`
    #[command(after_help = RECONCILE_HELP)]
    Reconcile(ReconcileArgs),
}

#[derive(Args)]
pub(crate) struct ProveArgs {
    /// Session id, or enough of its beginning. Not needed with --ring
    #[arg(required_unless_present = "ring")]
    pub session: Option<String>,
    /// A command of the session, by its ordinal from 1
    #[arg(long, value_name = "N", requires = "session", required_unless_present = "sequence")]
    pub command: Option<u64>,
    /// Which of the command's events
    #[arg(long, value_name = "KIND", default_value = "request", value_parser = kind)]
    pub kind: Kind,
    /// An event by its sequence in its ring
    #[arg(long, value_name = "N", conflicts_with_all = ["command", "kind"])]
    pub sequence: Option<u64>,
    /// The event's ring, where the session is not enough or there is none
    #[arg(long, value_name = "RING")]
    pub ring: Option<RingId>,
    #[command(flatten)]
    pub segments: SegmentsArg,
}

fn kind(word: &str) -> Result<Kind, String> {
    let words = Kind::ALL.map(Kind::word).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or(format!("one of {words}"))
}
