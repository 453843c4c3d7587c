//! What ends a session in the middle of an answer. What can still be answered is, and is no error here.

use weir_wire::{Blame, Fault};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The answer could not be masked to its end; the client sees it cut off.
    #[error(transparent)]
    Mask(#[from] weir_mask::Error),
    /// The upstream broke HTTP after its answer had begun, or spoke without being asked.
    #[error("the upstream broke HTTP: {0}")]
    Upstream(&'static str),
    /// The driver answered a question that was not asked.
    #[error("the gateway answered out of turn: {0}")]
    OutOfTurn(&'static str),
}

impl Blame for Error {
    fn blame(&self) -> Fault {
        match self {
            Self::Mask(weir_mask::Error::Malformed(_) | weir_mask::Error::TooDeep) | Self::Upstream(_) => {
                Fault::Upstream
            }
            Self::Mask(_) | Self::OutOfTurn(_) => Fault::Gateway,
        }
    }
}
