//! Whose request this is, when a proxy stands between.
//!
//! Limits count by the address found here. Rules, in this order:
//! 1. a peer that is not trusted is the client, whatever its headers say;
//! 2. of what a trusted peer passes on, entries are read from the right, where the
//!    nearest proxy wrote: trusted ones are skipped, the first other one is the client;
//! 3. what cannot be read ends the search at the last address that was vouched for;
//! 4. `X-Forwarded-For` and `Forwarded` that name different clients name none: a
//!    proxy writes one of them and passes the other on as its client sent it.
//!
//! A client can thus at worst be counted together with its proxy, never as another.
//!
//! <https://www.rfc-editor.org/rfc/rfc7239>

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{FORWARDED, HeaderName};
use axum::http::{HeaderMap, HeaderValue};

use crate::config::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Entries that are looked at, from the right: more proxies than anyone has in a row.
const MAX_HOPS: usize = 16;
/// A longer header is not read: an address has at most 45 characters.
const MAX_HEADER_BYTES: usize = 4_096;

/// Returns the client's address for limits.
pub(super) fn client_addr(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    let by = |name, entry| {
        let is_there = headers.contains_key(&name);
        is_there.then(|| nearest_stranger(headers, &name, entry, trusted).unwrap_or(peer))
    };
    match (by(X_FORWARDED_FOR, plain), by(FORWARDED, forwarded)) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// Reads the entries of `name` from the right. Returns the first address that is
/// not trusted, or the last before an entry that is no address.
fn nearest_stranger(
    headers: &HeaderMap,
    name: &HeaderName,
    entry: fn(&str) -> Option<IpAddr>,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let mut vouched = None;
    for text in entries(headers, name).take(MAX_HOPS) {
        let address = text.and_then(entry).map(|address| address.to_canonical());
        let Some(address) = address else { break };
        vouched = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    vouched
}

/// Returns the entries of all lines, the last one first; `None` stands for a line
/// that is not read.
fn entries<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| {
        let text = line
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_HEADER_BYTES);
        let unreadable = text.is_none().then_some(None);
        // No address holds a comma, so quotes need no care here.
        let read = text.into_iter().flat_map(|text| text.rsplit(',').map(Some));
        unreadable.into_iter().chain(read)
    })
}

/// Reads an entry of `X-Forwarded-For`: an address, with or without a port.
fn plain(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry
        .parse()
        .ok()
        .or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))
        .or_else(bracketed)
}

/// Reads the `for` of an entry of `Forwarded`.
fn forwarded(entry: &str) -> Option<IpAddr> {
    let value = entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })?;
    plain(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "127.0.0.1";

    #[track_caller]
    fn check(peer: &str, lines: &[(&'static str, &str)], expected: &str) {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"];
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let found = client_addr(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{lines:?}");
    }

    #[test]
    fn a_stranger_is_who_it_is() {
        check(
            "192.0.2.1",
            &[("x-forwarded-for", "198.51.100.9")],
            "192.0.2.1",
        );
        check("::ffff:192.0.2.1", &[], "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_from_the_right() {
        check(PROXY, &[], PROXY);
        check(PROXY, &[("x-forwarded-for", "192.0.2.1")], "192.0.2.1");
        check(
            "::ffff:127.0.0.1",
            &[("x-forwarded-for", "192.0.2.1")],
            "192.0.2.1",
        );
        check(
            PROXY,
            &[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.1.2.3")],
            "192.0.2.1",
        );
        check(
            PROXY,
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "192.0.2.1:80"),
            ],
            "192.0.2.1",
        );
        check(
            PROXY,
            &[("x-forwarded-for", "10.0.0.1, 10.0.0.2")],
            "10.0.0.1",
        );
        check(
            PROXY,
            &[("x-forwarded-for", "[2001:db8::1]:443")],
            "2001:db8::1",
        );
    }

    #[test]
    fn the_standard_header_is_read_too() {
        check(
            PROXY,
            &[("forwarded", "for=192.0.2.1;proto=https")],
            "192.0.2.1",
        );
        check(
            PROXY,
            &[(
                "forwarded",
                "for=6.6.6.6, proto=http; For=\"[2001:db8::1]:1\"",
            )],
            "2001:db8::1",
        );
        check(
            PROXY,
            &[("forwarded", "for=\"x, for=192.0.2.1")],
            "192.0.2.1",
        );
    }

    #[test]
    fn what_cannot_be_read_ends_at_the_last_one_vouched_for() {
        check(PROXY, &[("x-forwarded-for", "unknown")], PROXY);
        check(
            PROXY,
            &[("x-forwarded-for", "192.0.2.1, _hidden, 10.0.0.1")],
            "10.0.0.1",
        );
        check(PROXY, &[("x-forwarded-for", "192.0.2.1,")], PROXY);
        let long = format!("{}192.0.2.1", "6.6.6.6, ".repeat(600));
        check(PROXY, &[("x-forwarded-for", &long)], PROXY);
        let hops = format!("192.0.2.1{}", ", 10.0.0.1".repeat(MAX_HOPS));
        check(PROXY, &[("x-forwarded-for", &hops)], "10.0.0.1");
    }

    #[test]
    fn headers_that_disagree_name_nobody() {
        let both = |other| [("x-forwarded-for", "192.0.2.1"), ("forwarded", other)];
        check(PROXY, &both("for=6.6.6.6"), PROXY);
        check(PROXY, &both("for=unknown"), PROXY);
        check(PROXY, &both("for=192.0.2.1"), "192.0.2.1");
    }
}
