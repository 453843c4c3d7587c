//! The mapped memfd: the one place that touches shared memory, and so the only one with `unsafe` for it.
//!
//! The records are mapped twice in a row, so that no record ever wraps. Rust's memory model knows nothing of another
//! process; what protects us is that header words are only used as atomics, that record bytes are only ever written
//! through (producer) or copied out of (consumer) memory of plain bytes, for which every value is valid, and that the
//! seals forbid the other end to shrink the file under the mapping.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::Error;
use crate::layout::{HEADER_LEN, MAGIC, MAX_CAPACITY_BYTES, MIN_CAPACITY_BYTES, VERSION, Word};

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

#[derive(Debug)]
pub(crate) struct Mapping {
    memfd: OwnedFd,
    base: NonNull<u8>,
    capacity: usize,
}

// SAFETY: the mapping is plain memory of this process's address space, usable from any thread; the words are atomics,
// and `slot_mut` and `copy_out` state who may touch record bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references only reach atomics and copies.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a new sealed memfd with an empty ring in it.
    pub(crate) fn create(capacity: usize, ring: u64) -> Result<Self, Error> {
        check_capacity(capacity)?;
        let memfd = rustix::fs::memfd_create(
            "weir-ring",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL,
        )
        .or_else(|_| rustix::fs::memfd_create("weir-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))
        .map_err(Error::os("cannot make a memfd"))?;
        rustix::fs::ftruncate(&memfd, (HEADER_LEN + capacity) as u64)
            .map_err(Error::os("cannot size the ring's memfd"))?;
        rustix::fs::fcntl_add_seals(&memfd, SEALS).map_err(Error::os("cannot seal the ring's memfd"))?;
        let mapping = Self::map(memfd, capacity)?;
        mapping.word(Word::Version).store(VERSION, Ordering::Relaxed);
        mapping.word(Word::Capacity).store(capacity as u64, Ordering::Relaxed);
        mapping.word(Word::Ring).store(ring, Ordering::Relaxed);
        mapping.word(Word::Magic).store(MAGIC, Ordering::Release);
        Ok(mapping)
    }

    /// Maps a memfd that another process made. Nothing in it is trusted.
    pub(crate) fn open(memfd: OwnedFd, ring: u64) -> Result<Self, Error> {
        let seals = rustix::fs::fcntl_get_seals(&memfd)
            .map_err(|_| Error::Foreign("the descriptor is not a memfd"))?;
        if !seals.contains(SEALS) {
            return Err(Error::Foreign("the memfd is not sealed against shrinking and growing"));
        }
        let size = rustix::fs::fstat(&memfd).map_err(Error::os("cannot stat the ring's memfd"))?.st_size;
        let capacity = usize::try_from(size).ok().and_then(|size| size.checked_sub(HEADER_LEN));
        let capacity = capacity.ok_or(Error::Foreign("the memfd is shorter than a ring's header"))?;
        check_capacity(capacity)?;
        let mapping = Self::map(memfd, capacity)?;
        let word = |word| mapping.word(word).load(Ordering::Acquire);
        if word(Word::Magic) != MAGIC {
            return Err(Error::Foreign("the memfd does not begin with a ring's magic"));
        }
        if word(Word::Version) != VERSION {
            return Err(Error::Foreign("the ring's layout version is not the one this release speaks"));
        }
        if word(Word::Capacity) != capacity as u64 {
            return Err(Error::Foreign("the ring's capacity is not its memfd's size"));
        }
        if word(Word::Ring) != ring {
            return Err(Error::Foreign("the ring's id is not the one it was announced with"));
        }
        Ok(mapping)
    }

    fn map(memfd: OwnedFd, capacity: usize) -> Result<Self, Error> {
        let whole = HEADER_LEN + 2 * capacity;
        // SAFETY: a fresh reservation at an address of the kernel's choice; it overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                whole,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(Error::os("cannot reserve address space for a ring"))?
        .cast::<u8>();
        let base = NonNull::new(base).ok_or(Error::Foreign("the kernel mapped the ring at address 0"))?;
        // From here on, dropping `mapping` unmaps the whole reservation.
        let mapping = Self { memfd, base, capacity };
        let views = [(0, HEADER_LEN + capacity, 0), (HEADER_LEN + capacity, capacity, HEADER_LEN)];
        for (at, len, offset) in views {
            // SAFETY: `at + len <= whole`, so MAP_FIXED replaces only pages of our own reservation.
            unsafe {
                rustix::mm::mmap(
                    base.as_ptr().add(at).cast(),
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &mapping.memfd,
                    offset as u64,
                )
            }
            .map_err(Error::os("cannot map a ring"))?;
        }
        Ok(mapping)
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn memfd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        // SAFETY: every `Word` is an 8-aligned offset inside the mapped header page, which lives as long as `self`
        // and is only ever accessed as atomics.
        unsafe { &*self.base.as_ptr().add(word as usize).cast::<AtomicU64>() }
    }

    /// The address of `position`, of which `len <= capacity` bytes follow contiguously.
    fn at(&self, position: u64, len: usize) -> *mut u8 {
        assert!(len <= self.capacity, "a ring access longer than the ring");
        let offset = (position & (self.capacity as u64 - 1)) as usize;
        // SAFETY: `offset < capacity` and `len <= capacity`, so the range ends within the second view.
        unsafe { self.base.as_ptr().add(HEADER_LEN + offset) }
    }

    /// The bytes at `position`, for filling.
    ///
    /// # Safety
    /// The caller is the only producer of this ring, `position .. position + len` is unpublished and free, and no
    /// other slice of it lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller vouches for exclusivity; the mapping itself is shared"
    )]
    pub(crate) unsafe fn slot_mut(&self, position: u64, len: usize) -> &mut [u8] {
        let at = self.at(position, len);
        // SAFETY: mapped, contiguous (see `at`), and by the caller's word nobody else uses it. A consumer that breaks
        // the protocol and writes here can only change bytes, of which every value is valid.
        unsafe { std::slice::from_raw_parts_mut(at, len) }
    }

    /// Copies the bytes at `position` out. What is copied is whatever the memory held at that moment.
    pub(crate) fn copy_out(&self, position: u64, out: &mut [u8]) {
        let at = self.at(position, out.len());
        // SAFETY: source is mapped and contiguous (see `at`); the destination is private memory, so they are disjoint.
        // A producer that breaks the protocol and writes meanwhile can only change bytes, of which every value is valid.
        unsafe { std::ptr::copy_nonoverlapping(at.cast_const(), out.as_mut_ptr(), out.len()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the reservation of `map`, and nothing borrowed from it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), HEADER_LEN + 2 * self.capacity) };
    }
}

const fn check_capacity(capacity: usize) -> Result<(), Error> {
    if capacity.is_power_of_two() && capacity >= MIN_CAPACITY_BYTES && capacity <= MAX_CAPACITY_BYTES {
        Ok(())
    } else {
        Err(Error::Capacity(capacity))
    }
}
