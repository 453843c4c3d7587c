//! The one door to the C side: a text in, a run of records out (`c/weir_sql.h` has their form).

use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;

// The parser's objects are bundled in that crate; naming it links them.
use pg_query as _;

const BACKSLASH_STRINGS: c_int = 1;

#[repr(C)]
#[derive(Clone, Copy)]
struct Result {
    data: *const u8,
    len: usize,
    context: *mut c_void,
}

unsafe extern "C" {
    fn weir_sql_begin(text: *const c_char, len: usize, options: c_int) -> Result;
    fn weir_sql_end(result: Result);
}

/// The records of one text. The C side keeps one at a time per thread, in memory that goes when this is dropped.
struct Records {
    result: Result,
    _not_send: PhantomData<*mut ()>,
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: `result` came from `weir_sql_begin` on this thread (`Records` is not Send) and is ended once.
        unsafe { weir_sql_end(self.result) }
    }
}

/// Calls `read` with the records of `text`, which must hold no NUL. `read` must not parse another text.
pub(crate) fn with_records<T>(text: &str, backslash_strings: bool, read: impl FnOnce(&[u8]) -> T) -> T {
    let options = if backslash_strings { BACKSLASH_STRINGS } else { 0 };
    // SAFETY: `text` is `text.len()` readable bytes of UTF-8, which the callee copies. Its errors stay inside: it
    // catches every jump of the parser. It uses thread-local state only, and no result is open on this thread,
    // since `Records` never leaves this function and `read` opens none.
    let result = unsafe { weir_sql_begin(text.as_ptr().cast(), text.len(), options) };
    let records = Records { result, _not_send: PhantomData };
    // SAFETY: `data` is `len` bytes that nobody writes to until `weir_sql_end`, which `records` calls after this use.
    let bytes = unsafe { std::slice::from_raw_parts(records.result.data, records.result.len) };
    read(bytes)
}
