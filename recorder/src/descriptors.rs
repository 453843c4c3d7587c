//! The service manager's notification socket and descriptor store: where rings outlive both processes.
//!
//! Without `NOTIFY_SOCKET` nothing here does anything. Protocol: sd_notify(3), `FDSTORE=1`, and sd_listen_fds(3).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use weir_ring::{Consumer, Description, Offer};

/// First descriptor that a service manager passes.
const FIRST: i32 = 3;

/// The way to the service manager.
#[derive(Debug)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddrUnix)>,
    node: String,
}

impl Manager {
    /// Finds the notification socket in the environment.
    #[must_use]
    pub fn find(node: &str) -> Self {
        let path = std::env::var_os("NOTIFY_SOCKET");
        let address = path.as_deref().and_then(|path| match path.as_encoded_bytes().split_first() {
            Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name).ok(),
            Some(_) => SocketAddrUnix::new(path).ok(),
            None => None,
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        Self { socket, node: node.to_owned() }
    }

    /// Says that the service is up.
    pub fn ready(&self) {
        self.send("READY=1\n", &[]);
    }

    /// Says one line about how the service is.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\n"), &[]);
    }

    /// Parks a ring's three descriptors.
    pub fn park(&self, consumer: &Consumer) {
        let description = consumer.description();
        for (fd, part) in consumer.descriptors().into_iter().zip(PARTS) {
            let name = name(description.ring, part);
            self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n"), &[fd]);
        }
    }

    /// Takes a ring's descriptors out of the store.
    pub fn release(&self, ring: u64) {
        for part in PARTS {
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={}\n", name(ring, part)), &[]);
        }
    }

    fn send(&self, text: &str, fds: &[std::os::fd::BorrowedFd<'_>]) {
        let Some((socket, address)) = &self.socket else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return;
        }
        let iov = [IoSlice::new(text.as_bytes())];
        let sent = rustix::net::sendmsg_addr(socket, address, &iov, &mut control, SendFlags::NOSIGNAL);
        if let Err(error) = sent {
            tracing::warn!(%error, "cannot tell the service manager");
        }
    }

    /// Rings that were parked before this process began. Call once, before any thread is made and any file opened.
    #[must_use]
    pub fn parked(&self) -> Vec<Offer> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Vec::new();
        }
        let count = number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok()).unwrap_or(0).min(4096);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let fds = (FIRST..FIRST + count).map(|fd| {
            // SAFETY: the service manager passed exactly these descriptors to this process (LISTEN_PID is ours), and
            // nobody else in it has taken them: this runs once, first of all.
            unsafe { OwnedFd::from_raw_fd(fd) }
        });
        let mut named: Vec<(String, OwnedFd)> = names.split(':').map(str::to_owned).zip(fds).collect();
        let mut offers = Vec::new();
        while let Some(place) = named.iter().position(|(name, _)| name.ends_with(".memory")) {
            let (memory_name, memfd) = named.swap_remove(place);
            let Some(description) = parse(&memory_name, &self.node) else { continue };
            let mut find = |part| {
                let wanted = name(description.ring, part);
                let place = named.iter().position(|(name, _)| *name == wanted)?;
                Some(named.swap_remove(place).1)
            };
            let (producer_bell, consumer_bell) = (find("producer"), find("consumer"));
            if let (Some(producer_bell), Some(consumer_bell)) = (producer_bell, consumer_bell) {
                offers.push(Offer { memfd, producer_bell, consumer_bell, description });
            }
        }
        offers
    }
}

const PARTS: [&str; 3] = ["memory", "producer", "consumer"];

/// A ring's id says all that its description does, but for the generation, which nothing here needs.
fn name(ring: u64, part: &str) -> String {
    format!("weir.{ring:x}.{part}")
}

fn parse(name: &str, node: &str) -> Option<Description> {
    let ring = u64::from_str_radix(name.strip_prefix("weir.")?.split('.').next()?, 16).ok()?;
    let core = u32::from(weir_segment::RingId(ring).core());
    Some(Description { ring, node: node.to_owned(), core, generation: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_rings_name_tells_whose_it_is() {
        let description = Description { ring: 0xabc_0002, node: "n".to_owned(), core: 2, generation: 0 };
        assert_eq!(parse(&name(description.ring, "memory"), "n"), Some(description));
        assert_eq!(parse("other.fd", "n"), None);
    }
}
