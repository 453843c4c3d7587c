//! What all cores of a process remember of one upstream's database: that a catalog was changed, and which columns were
//! protected, by their numbers, so that a column stays protected under another name until the policy says otherwise.
//!
//! It is taken when a catalog was read and when a session logs in, never for a message. It ends with the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use weir_policy::ColumnMask;

/// A column that a rule protected when it had this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub(crate) relation: u32,
    pub(crate) attribute: u16,
    /// By its number among the rules.
    pub(crate) rule: usize,
    /// `schema.table.column`
    pub(crate) name: String,
    /// The name that it has now, once somebody was told.
    pub(crate) told: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct CatalogMemory {
    changes: AtomicU64,
    pins: Mutex<Vec<(Vec<ColumnMask>, Vec<Pin>)>>,
}

impl CatalogMemory {
    /// Changes whenever something may have made every catalog untrue.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Of these rules.
    pub(crate) fn pins(&self, rules: &[ColumnMask]) -> Vec<Pin> {
        let known = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(of, _)| of == rules).map(|(_, pins)| pins.clone()).unwrap_or_default()
    }

    /// Remembers `pins` in the place of what was remembered for the same rules.
    pub(crate) fn pin(&self, rules: &[ColumnMask], pins: Vec<Pin>) {
        /// Sets of rules that are in use on one database at a time.
        const KEPT: usize = 64;
        let mut known = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(of, _)| of != rules);
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push((rules.to_vec(), pins));
    }
}
