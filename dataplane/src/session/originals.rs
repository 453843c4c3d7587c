//! What a session's peers say before anything is masked, sealed for recipients of its connection's own where that asks for
//! it. Since the login was over, so that no token and no credential is among it.

use weir_segment::{Body, Direction, Originals, SessionId};
use weir_wire::{Lane, Side};

use super::Ended;
use super::desk::Desk;
use crate::clock::Now;
use crate::record::CHUNK_BYTES;
use crate::standing::Upstream;
use crate::worker::Worker;

/// A new session's key, where its connection keeps originals.
pub(super) fn begin(
    worker: &Worker,
    upstream: &Upstream,
    session: SessionId,
) -> Result<Option<Box<Originals>>, Ended> {
    match upstream.connection.originals.as_slice() {
        [] => Ok(None),
        recipients => Originals::new(recipients, session, &worker.random)
            .map(|originals| Some(Box::new(originals)))
            .map_err(|error| Ended::gateway(format!("originals cannot be sealed: {error}"))),
    }
}

impl Desk {
    /// Records the next bytes of a peer, before anything that was made of them leaves.
    pub(super) fn originals(
        &mut self,
        worker: &Worker,
        from: Side,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), Ended> {
        let Some(mut originals) = self.opened.as_mut().and_then(|opened| opened.originals.take()) else {
            return Ok(());
        };
        let direction = match from {
            Side::Client => Direction::ToUpstream,
            Side::Upstream => Direction::ToClient,
        };
        for piece in bytes.chunks(CHUNK_BYTES) {
            let sealed = originals.seal(direction, piece);
            let sealed =
                sealed.map_err(|error| Ended::gateway(format!("originals cannot be sealed: {error}")))?;
            let body = Body::Original(sealed);
            self.put(worker, self.ordinal(), Lane::default(), direction, (0, 0), body, now)?;
        }
        if let Some(opened) = &mut self.opened {
            opened.originals = Some(originals);
        }
        Ok(())
    }
}
