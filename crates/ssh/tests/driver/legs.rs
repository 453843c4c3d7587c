//! One leg over memory: a transport with its input and its output, and two of them joined.

use std::sync::Arc;

use bytes::BytesMut;
use weir_ssh::algorithms::Algorithms;
use weir_ssh::{Config, Error, Event, HostTrust, Limits, RekeyLimits, Transport};

use super::keys::Keys;

pub(crate) struct Leg {
    pub transport: Transport,
    pub input: Vec<u8>,
    pub out: BytesMut,
    pub established: bool,
    pub messages: Vec<Vec<u8>>,
}

impl Leg {
    pub(crate) fn new(config: &Arc<Config>) -> Self {
        let mut out = BytesMut::new();
        let transport = Transport::new(config.clone(), NOW, &mut out).expect("randomness");
        Self { transport, input: Vec::new(), out, established: false, messages: Vec::new() }
    }

    /// Takes everything that is there.
    pub(crate) fn take(&mut self) -> Result<(), Error> {
        loop {
            let progress = self.transport.next(&mut self.input, NOW, &mut self.out)?;
            match progress.event {
                Event::NeedMore => return Ok(()),
                Event::Handled => {}
                Event::Established => self.established = true,
                Event::Message(payload) => self.messages.push(self.input[payload].to_vec()),
            }
            self.input.drain(..progress.consumed);
        }
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        self.transport.send(message, &[], &mut self.out).expect("sent");
    }
}

pub(crate) const NOW: u64 = 1_800_000_000_000;

/// Carries bytes both ways until neither side has any, `chunk` at a time.
pub(crate) fn settle(client: &mut Leg, server: &mut Leg, chunk: usize) -> Result<(), Error> {
    while !client.out.is_empty() || !server.out.is_empty() {
        carry(client, server, chunk)?;
        carry(server, client, chunk)?;
    }
    Ok(())
}

pub(crate) fn carry(from: &mut Leg, to: &mut Leg, chunk: usize) -> Result<(), Error> {
    let bytes = from.out.split();
    for piece in bytes.chunks(chunk) {
        to.input.extend_from_slice(piece);
        to.take()?;
    }
    Ok(())
}

/// Both configurations for one host key.
pub(crate) fn configs(
    keys: &Keys,
    host: &str,
    client: Algorithms,
    server: Algorithms,
    rekey: RekeyLimits,
) -> (Arc<Config>, Arc<Config>) {
    let trust = HostTrust { pinned: vec![keys.public(host)], ..HostTrust::default() };
    let client = Config::client(trust, client, Limits::default(), rekey).expect("a configuration");
    let server =
        Config::server(vec![keys.host(host)], server, Limits::default(), rekey).expect("a configuration");
    (client, server)
}

/// Joined, keys exchanged, and the user known.
pub(crate) fn pair(configs: &(Arc<Config>, Arc<Config>)) -> (Leg, Leg) {
    let (mut client, mut server) = (Leg::new(&configs.0), Leg::new(&configs.1));
    settle(&mut client, &mut server, usize::MAX).expect("an exchange");
    assert!(client.established && server.established);
    client.transport.authenticated();
    server.transport.authenticated();
    (client, server)
}
