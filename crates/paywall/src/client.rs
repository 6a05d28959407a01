//! Who a client is for everything that is counted per client.

use std::net::{IpAddr, Ipv6Addr};

/// The block of clients that have no address, or none of their own.
pub(crate) const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Returns the address block that one customer of a network has: an IPv6 /64.
pub(crate) fn block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(
            || IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
            IpAddr::V4,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_has_one_block() {
        let block = |text: &str| block(text.parse().unwrap()).to_string();

        assert_eq!(block("192.0.2.7"), "192.0.2.7");
        assert_eq!(block("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
