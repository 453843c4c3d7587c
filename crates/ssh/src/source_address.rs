//! Networks as a certificate's `source-address` lists them.

use std::net::IpAddr;

/// An address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// `192.0.2.0/24`, `2001:db8::/32`, or one address. As in OpenSSH, bits behind the prefix must be zero.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width)?
            }
            Some(_) => return None,
        };
        let host = (1u128.checked_shl(width - bits).unwrap_or(0)).wrapping_sub(1);
        (number(address) & host == 0).then_some(Self { address, bits })
    }

    /// An IPv4 address in IPv6's clothes is the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.prefix(address) == self.prefix(self.address)
    }

    fn prefix(&self, address: IpAddr) -> Option<u128> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let dropped = u32::checked_sub(width, self.bits)?;
        Some(number(address).checked_shr(dropped).unwrap_or(0))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_under_its_prefix_and_no_others() {
        for (network, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            let network = Network::read(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network:?} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/+24",
            "192.0.2.0/",
            "::1/64",
            "host",
            "!192.0.2.1",
        ] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
