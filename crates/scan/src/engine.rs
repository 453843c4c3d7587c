//! All the unsafe code of this crate: Hyperscan's runtime functions and the three types that own what they hand out.
//!
//! The declarations are our own because `hyperscan-sys` always links a library of its choosing, the compiler included.
//! They are those of Hyperscan 5.4's `hs_runtime.h` and `hs_common.h`.

use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, null_mut};

use weir_policy::ScanError;

use crate::Error;

#[repr(C)]
struct RawDatabase {
    opaque: [u8; 0],
}

#[repr(C)]
struct RawScratch {
    opaque: [u8; 0],
}

type OnMatch = unsafe extern "C" fn(
    id: c_uint,
    from: c_ulonglong,
    to: c_ulonglong,
    flags: c_uint,
    context: *mut c_void,
) -> c_int;

unsafe extern "C" {
    fn hs_alloc_scratch(database: *const RawDatabase, scratch: *mut *mut RawScratch) -> c_int;
    fn hs_deserialize_database(bytes: *const c_char, len: usize, database: *mut *mut RawDatabase) -> c_int;
    fn hs_free_database(database: *mut RawDatabase) -> c_int;
    fn hs_free_scratch(scratch: *mut RawScratch) -> c_int;
    fn hs_scan(
        database: *const RawDatabase,
        data: *const c_char,
        len: c_uint,
        flags: c_uint,
        scratch: *mut RawScratch,
        on_match: OnMatch,
        context: *mut c_void,
    ) -> c_int;
    fn hs_version() -> *const c_char;
}

const SUCCESS: c_int = 0;
const INVALID: c_int = -1;

/// The linked library's version and build date.
pub fn version() -> String {
    // SAFETY: returns a pointer to a static, NUL-terminated string, as documented.
    let text = unsafe { CStr::from_ptr(hs_version()) };
    text.to_string_lossy().into_owned()
}

/// A block-mode database. Immutable once made.
pub(crate) struct Database(NonNull<RawDatabase>);

// SAFETY: "a compiled database is immutable and can be shared by threads": scans only read it.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Copies and checks a serialised database. The bytes must be ones that are trusted: Hyperscan checks a CRC, not intent.
    pub(crate) fn deserialize(bytes: &[u8]) -> Result<Self, Error> {
        let mut database = null_mut();
        // SAFETY: `bytes` is readable for its length and not kept; the out pointer is valid; alignment is not required.
        let code = unsafe { hs_deserialize_database(bytes.as_ptr().cast(), bytes.len(), &raw mut database) };
        match NonNull::new(database) {
            Some(database) if code == SUCCESS => Ok(Self(database)),
            Some(_) | None => Err(Error::Refused(code)),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: made by `hs_deserialize_database`, freed once; no scan runs, since scans borrow `self`.
        unsafe { hs_free_database(self.0.as_ptr()) };
    }
}

/// Work space for one scan at a time. Grows to fit every database it was fitted to; stays on its thread.
#[derive(Default)]
pub(crate) struct Scratch(Option<NonNull<RawScratch>>);

impl Scratch {
    /// Makes it large enough for `database`.
    pub(crate) fn fit(&mut self, database: &Database) -> Result<(), ScanError> {
        let mut scratch = self.0.map_or(null_mut(), NonNull::as_ptr);
        // SAFETY: the database is live; `scratch` is null or one of ours, not in use since we hold `&mut self`. On
        // success it is replaced by one that is large enough, on failure it may have been freed and is then null.
        let code = unsafe { hs_alloc_scratch(database.0.as_ptr(), &raw mut scratch) };
        self.0 = NonNull::new(scratch);
        if code == SUCCESS { Ok(()) } else { Err(ScanError(code)) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(scratch) = self.0 {
            // SAFETY: allocated by `hs_alloc_scratch`, freed once, not in use.
            unsafe { hs_free_scratch(scratch.as_ptr()) };
        }
    }
}

/// What the callback needs, behind the context pointer.
struct Context<'a> {
    hit: &'a mut dyn FnMut(u32, usize),
    panic: Option<Box<dyn Any + Send>>,
}

/// Scans `text` and calls `hit(pattern, end)` for each match. `scratch` must have been fitted to `database`.
/// A panic in `hit` ends the scan and goes on from here.
pub(crate) fn scan(
    database: &Database,
    scratch: &mut Scratch,
    text: &[u8],
    hit: &mut dyn FnMut(u32, usize),
) -> Result<(), ScanError> {
    let (Some(work), Ok(len)) = (scratch.0, c_uint::try_from(text.len())) else {
        return Err(ScanError(INVALID));
    };
    let mut context = Context { hit, panic: None };
    // SAFETY: the database is live and shared; the scratch is ours alone for the call (`&mut`), and an unfitted one is
    // refused by Hyperscan with an error; `text` is readable for `len`; `context` outlives the call, and only the
    // callback uses it meanwhile.
    let code = unsafe {
        hs_scan(
            database.0.as_ptr(),
            text.as_ptr().cast(),
            len,
            0,
            work.as_ptr(),
            on_match,
            (&raw mut context).cast(),
        )
    };
    if let Some(panic) = context.panic {
        resume_unwind(panic);
    }
    if code == SUCCESS { Ok(()) } else { Err(ScanError(code)) }
}

/// Unwinding must not cross C: a panic is kept, and the scan told to stop.
unsafe extern "C" fn on_match(
    id: c_uint,
    _from: c_ulonglong,
    to: c_ulonglong,
    _flags: c_uint,
    context: *mut c_void,
) -> c_int {
    // SAFETY: `scan` passes a live `Context` that nothing else touches during the call.
    let context = unsafe { &mut *context.cast::<Context<'_>>() };
    // `to` is at most the text's length, which was a `usize`.
    let end = usize::try_from(to).unwrap_or(usize::MAX);
    match catch_unwind(AssertUnwindSafe(|| (context.hit)(id, end))) {
        Ok(()) => 0,
        Err(panic) => {
            context.panic = Some(panic);
            1
        }
    }
}
