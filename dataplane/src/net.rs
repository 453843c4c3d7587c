//! The one door to the runtime: readiness of a descriptor, reading and writing it without waiting, and sleep.
//!
//! Nothing here reads through the ring: a cancelled read can lose data, and a posted one pins its buffer. One waits
//! for readiness (which may be dropped at any time), then calls `recv` oneself. No other module names monoio, so that
//! another runtime, or a mended copy of this one, stays a matter of this file.

pub(crate) mod signal;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

/// Entries of each core's submission queue. Completions beyond it are kept by the kernel, so this bounds nothing.
const RING_ENTRIES: u32 = 4096;

/// A core's runtime.
pub(crate) struct Runtime(monoio::Runtime<monoio::time::TimeDriver<monoio::IoUringDriver>>);

impl Runtime {
    /// # Errors
    /// The host's: io_uring is off, forbidden, or short of locked memory.
    pub(crate) fn new() -> io::Result<Self> {
        // The kernel does its part of an operation when the core asks, not in the middle of something else.
        let mut ring = io_uring::IoUring::builder();
        ring.setup_single_issuer().setup_defer_taskrun();
        match Self::over(ring) {
            // Before 6.1 the kernel knows less.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::over(io_uring::IoUring::builder())
            }
            outcome => outcome,
        }
    }

    fn over(ring: io_uring::Builder) -> io::Result<Self> {
        monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
            .uring_builder(ring)
            .with_entries(RING_ENTRIES)
            .enable_timer()
            .build()
            .map(Self)
    }

    pub(crate) fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

/// Starts a task on this core. It runs to its end by itself.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(task));
}

pub(crate) async fn sleep(time: Duration) {
    monoio::time::sleep(time).await;
}

/// A descriptor that can be waited for: a socket, a listener, an eventfd. Closed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Io(Rc<TcpStream>);

impl Io {
    /// # Errors
    /// The host's: the runtime would not take the descriptor.
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        // The runtime only polls the descriptor, so that it need not be a TCP stream at all.
        TcpStream::from_std(std::net::TcpStream::from(descriptor)).map(|stream| Self(Rc::new(stream)))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and lives at least as long as `self`, whose lifetime the result has.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable(false).await
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.0.writable(false).await
    }

    /// Reads what is there. `None`: nothing yet. `Some(0)`: the peer sends no more.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            return match rustix::net::recv(self.fd(), &mut *into, RecvFlags::DONTWAIT) {
                Ok((_, count)) => Ok(Some(count)),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// As `try_recv`, into what `into` has allocated and not filled.
    ///
    /// # Errors
    /// As `try_recv`.
    pub(crate) fn try_recv_vec(&self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        loop {
            return match rustix::net::recv(
                self.fd(),
                rustix::buffer::spare_capacity(into),
                RecvFlags::DONTWAIT,
            ) {
                Ok((_, count)) => Ok(Some(count)),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Writes what fits; 0 when nothing does.
    ///
    /// # Errors
    /// The peer's or the network's: the connection is gone.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            return match rustix::net::send(self.fd(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => Ok(count),
                Err(Errno::AGAIN) => Ok(0),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Tells the peer that no more comes.
    pub(crate) fn finish(&self) {
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }
}

/// Which of two came first.
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for the first of two; the other is dropped, so that only what may be dropped belongs here.
pub(crate) async fn race<A: Future, B: Future>(
    mut a: Pin<&mut A>,
    mut b: Pin<&mut B>,
) -> Either<A::Output, B::Output> {
    poll_fn(|context| {
        if let Poll::Ready(a) = a.as_mut().poll(context) {
            return Poll::Ready(Either::First(a));
        }
        b.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// Waits for one readiness of one descriptor again and again, with one allocation for its whole life.
///
/// Asked for with [`Watch::poll`]; what was asked for stays asked for until it comes.
pub(crate) struct Watch {
    waiting: Pin<Box<dyn Future<Output = io::Error>>>,
    asked: Rc<Cell<bool>>,
}

impl Watch {
    pub(crate) fn readable(io: &Io) -> Self {
        let io = io.clone();
        Self::over(move || {
            let io = io.clone();
            async move { io.readable().await }
        })
    }

    pub(crate) fn writable(io: &Io) -> Self {
        let io = io.clone();
        Self::over(move || {
            let io = io.clone();
            async move { io.writable().await }
        })
    }

    fn over<F: Future<Output = io::Result<()>> + 'static>(wait: impl Fn() -> F + 'static) -> Self {
        let asked = Rc::new(Cell::new(false));
        let seen = Rc::clone(&asked);
        let waiting = Box::pin(async move {
            loop {
                poll_fn(|_| if seen.get() { Poll::Ready(()) } else { Poll::Pending }).await;
                if let Err(error) = wait().await {
                    return error;
                }
                seen.set(false);
            }
        });
        Self { waiting, asked }
    }

    /// Ready once a time that readiness came; the next call asks anew.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.asked.set(true);
        match self.waiting.as_mut().poll(context) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending if self.asked.get() => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

/// Gives the kernel back what the allocator holds and nobody uses. Takes milliseconds: for rare moments.
pub(crate) fn trim() {
    // SAFETY: it has no preconditions; it locks each arena as an allocation does.
    unsafe { libc::malloc_trim(0) };
}

/// Ends the process at once, without taking apart what the kernel may still use.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` runs nothing of ours and does not return.
    unsafe { libc::_exit(code) }
}
