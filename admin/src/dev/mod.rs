//! Development only: an OIDC issuer that signs whatever it is asked to, and the whole appliance as children of one
//! process. Everything listens on loopback; any other address is refused.

mod appliance;
mod children;
mod files;
mod issuer;
mod people;
mod ports;
mod postgres;
mod ready;
mod sample_http;
mod token;
mod tour;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};

pub(crate) use appliance::up;
#[cfg(test)]
pub(crate) use issuer::DevIssuer;
pub(crate) use issuer::run as issuer;
pub(crate) use token::mint as token;

/// # Errors
/// The address is not loopback's, or none at all.
fn loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text.parse().with_context(|| format!("{text:?} is no address and port"))?;
    if !address.ip().is_loopback() {
        bail!("{address} is not loopback: this is for development and signs tokens for anybody");
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_loopback_addresses_are_accepted() {
        for good in ["127.0.0.1:9000", "[::1]:0"] {
            assert!(super::loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:9000", "192.0.2.1:9000", "[::]:9000", "localhost:9000", "9000"] {
            assert!(super::loopback(bad).is_err(), "{bad}");
        }
    }
}
