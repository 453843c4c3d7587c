//! What the upstream still owes an answer to, in order: one entry for each message that it got.
//!
//! A denied command that could not be answered at once has its entry too, so that its error keeps its place.

use std::rc::Rc;

use bytes::BytesMut;
use weir_policy::{Facts, Obligations};

use crate::copy_shape::CopyShape;
use crate::function_call::Called;
use crate::lineage::Doubt;
use crate::names::Slot;

/// One message that was sent upstream.
#[derive(Debug)]
pub(crate) enum Expected {
    Bind(Slot),
    ClosePortal(Option<Slot>),
    CloseStatement(Option<Slot>),
    /// `own`: the gateway asked, and its answer goes no further.
    DescribePortal {
        slot: Option<Slot>,
        own: bool,
    },
    DescribeStatement(Option<Slot>),
    /// `own`: its columns are those of the gateway's own description just before it.
    Execute {
        slot: Option<Slot>,
        obligations: Rc<Obligations>,
        own: bool,
        copy: Option<Box<CopyShape>>,
        doubt: Doubt,
    },
    Function {
        obligations: Rc<Obligations>,
        called: Called,
        doubt: Doubt,
    },
    /// Part of the gateway's own question: a COPY's columns, a function's name.
    Own(Own),
    Parse(Slot),
    /// Stands for a denied command: the upstream got text that no grammar takes, so that its transaction fails as the
    /// client's does, and its error is replaced by this one.
    Poison {
        error: BytesMut,
        simple: bool,
    },
    Query {
        facts: Rc<Facts>,
        obligations: Rc<Obligations>,
        copy: Option<Box<CopyShape>>,
        doubt: Doubt,
    },
    Sync,
}

/// The gateway's own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Bind,
    Close,
    Describe,
    Execute,
    Parse,
    Sync,
}

impl Expected {
    /// Whether an error in it makes the upstream skip everything up to the next Sync.
    pub(crate) const fn skips_on_error(&self) -> bool {
        match self {
            Self::Bind(_)
            | Self::ClosePortal(_)
            | Self::CloseStatement(_)
            | Self::DescribePortal { .. }
            | Self::DescribeStatement(_)
            | Self::Execute { .. }
            | Self::Own(Own::Bind | Own::Close | Own::Describe | Own::Execute | Own::Parse)
            | Self::Parse(_)
            | Self::Poison { simple: false, .. } => true,
            Self::Function { .. }
            | Self::Own(Own::Sync)
            | Self::Poison { simple: true, .. }
            | Self::Query { .. }
            | Self::Sync => false,
        }
    }

    /// What to mask in its answer.
    pub(crate) const fn obligations(&self) -> Option<&Rc<Obligations>> {
        match self {
            Self::Execute { obligations, .. }
            | Self::Function { obligations, .. }
            | Self::Query { obligations, .. } => Some(obligations),
            Self::Bind(_)
            | Self::ClosePortal(_)
            | Self::CloseStatement(_)
            | Self::DescribePortal { .. }
            | Self::DescribeStatement(_)
            | Self::Own(_)
            | Self::Parse(_)
            | Self::Poison { .. }
            | Self::Sync => None,
        }
    }

    /// Whether the answer is for the gateway alone.
    pub(crate) const fn is_own(&self) -> bool {
        matches!(self, Self::Own(_) | Self::DescribePortal { own: true, .. })
    }
}
