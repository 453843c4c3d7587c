//! Bound statements, with what later messages need of their Bind; the memory of it is used again.

use std::rc::Rc;

use weir_policy::{Binds, Obligations};

use crate::names::{Statement, StatementPool};

/// What is kept of the bind values of one portal. With as many portals as a session may have, that is as much as its
/// texts may take.
const KEPT_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) statement: Rc<Statement>,
    /// What else it may run: what an `EXECUTE` stands for, what its name may have meant.
    pub(crate) also: Vec<Rc<Statement>>,
    pub(crate) obligations: Rc<Obligations>,
    pub(crate) bound: Bound,
    /// An Execute of it went upstream.
    pub(crate) ran: bool,
    /// Body of its RowDescription, once the upstream gave one; empty before.
    pub(crate) columns: Vec<u8>,
    /// The sync group in which the client last asked for it.
    pub(crate) described_in: u64,
}

/// Parts of a Bind message.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// Result-format codes, then the bind values.
    bytes: Vec<u8>,
    formats: usize,
    count: u16,
}

impl Bound {
    /// Result-format codes as Bind had them, two bytes each.
    pub(crate) fn formats(&self) -> &[u8] {
        self.bytes.get(..self.formats).unwrap_or_default()
    }

    /// `None` for more than is kept.
    pub(crate) fn binds(&self) -> Option<Binds<'_>> {
        // Their counts alone take four bytes.
        let raw = self.bytes.get(self.formats..).filter(|raw| !raw.is_empty())?;
        Some(Binds { raw, count: self.count })
    }
}

/// Memory of portals that are gone.
#[derive(Debug, Default)]
pub(crate) struct BoundPool(Vec<Vec<u8>>);

impl BoundPool {
    /// `binds` and `formats` as [`Bound`] gives them back.
    pub(crate) fn make(&mut self, binds: Binds<'_>, formats: &[u8]) -> Bound {
        let mut bytes = self.0.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(formats);
        if binds.raw.len() <= KEPT_BYTES {
            bytes.extend_from_slice(binds.raw);
        }
        Bound { bytes, formats: formats.len(), count: binds.count }
    }

    pub(crate) fn retire(&mut self, statements: &mut StatementPool, portal: Portal) {
        const SPARE: usize = 4;
        statements.retire(Some(portal.statement));
        if self.0.len() < SPARE && portal.bound.bytes.capacity() <= KEPT_BYTES {
            self.0.push(portal.bound.bytes);
        }
    }
}
