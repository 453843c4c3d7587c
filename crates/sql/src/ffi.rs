//! The one door to the C side: a text in, runs of records out (`c/weir_sql.h` has their form).

use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

// The parser's objects are bundled in that crate; naming it links them.
use pg_query as _;

const BACKSLASH_STRINGS: c_int = 1;

#[repr(C)]
struct Records {
    data: *const u8,
    len: usize,
}

unsafe extern "C" {
    fn weir_sql_begin(text: *const c_char, len: usize, options: c_int) -> NonNull<c_void>;
    fn weir_sql_spelling(walk: NonNull<c_void>) -> Records;
    fn weir_sql_facts(walk: NonNull<c_void>) -> Records;
    fn weir_sql_end(walk: NonNull<c_void>);
}

/// A text on the C side, in memory that goes when this is dropped.
pub(crate) struct Spelt {
    walk: NonNull<c_void>,
    records: Records,
    _not_send: PhantomData<*mut ()>,
}

impl Spelt {
    /// Spells `text`, which must hold no NUL.
    pub(crate) fn new(text: &str, backslash_strings: bool) -> Self {
        let options = if backslash_strings { BACKSLASH_STRINGS } else { 0 };
        // SAFETY: `text` is `text.len()` readable bytes of UTF-8, which the callee copies.
        let walk = unsafe { weir_sql_begin(text.as_ptr().cast(), text.len(), options) };
        // SAFETY: `walk` is alive until `drop`. Errors stay inside: the callee catches every jump of the parser. It uses
        // thread-local state only, and `Spelt` stays on its thread.
        let records = unsafe { weir_sql_spelling(walk) };
        Self { walk, records, _not_send: PhantomData }
    }

    /// Its spelling, as records; empty where no other text could share what is known of it.
    pub(crate) fn spelling(&self) -> &[u8] {
        self.bytes()
    }

    /// Everything about it, as records.
    pub(crate) fn facts(&mut self) -> &[u8] {
        // SAFETY: as above; the spelling's records, which this frees, are not borrowed any more.
        self.records = unsafe { weir_sql_facts(self.walk) };
        self.bytes()
    }

    const fn bytes(&self) -> &[u8] {
        // SAFETY: `data` is `len` bytes that nobody writes to until the next call, which needs `&mut self`, or the drop.
        unsafe { std::slice::from_raw_parts(self.records.data, self.records.len) }
    }
}

impl Drop for Spelt {
    fn drop(&mut self) {
        // SAFETY: `walk` came from `weir_sql_begin` on this thread (`Spelt` is not Send) and is ended once.
        unsafe { weir_sql_end(self.walk) }
    }
}
