//! The headers of a forwarded message: what ends here, and what a proxy adds.
//!
//! Headers of one connection end here in both directions. `X-Forwarded-*` say what
//! this node saw: what a client wrote there is forged and goes, unless the
//! connection came from a proxy that the owner trusts. Payment headers ended in
//! the paywall. <https://www.rfc-editor.org/rfc/rfc9110#name-message-forwarding>

use feria_paywall::service::ClientAddr;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::gateway::TrustedProxy;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_CASHU: HeaderName = HeaderName::from_static("x-cashu");
/// What every name of what a proxy tells begins with.
const FORWARDED_PREFIX: &str = "x-forwarded-";
/// What this node is called in `Via`.
const PSEUDONYM: &str = "feria";

/// Headers that concern one connection only. `Trailer` is not among them: it
/// announces what passes.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes out what ends here: the fixed list, and what `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Makes the head of a client's request one of this node's own to the upstream.
pub(super) fn rewrite_request(parts: &mut Parts, is_http2: bool) {
    let takes_trailers = has_token(&parts.headers, &TE, "trailers");
    let host = host(parts);
    let headers = &mut parts.headers;
    remove_hop_by_hop(headers);
    headers.remove(HOST);
    headers.remove(EXPECT);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // In HTTP/1.1 `TE` concerns one connection, and says so.
        if !is_http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if !is_http2 {
        join_cookies(headers);
    }
    let client = parts.extensions.get::<ClientAddr>().copied();
    let proxy = parts.extensions.get::<TrustedProxy>().copied();
    tell_origin(headers, client, proxy, host);
    let version = match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    if let Ok(via) = HeaderValue::try_from(format!("{version} {PSEUDONYM}")) {
        headers.append(VIA, via);
    }
}

/// Says for whom this request is made.
fn tell_origin(
    headers: &mut HeaderMap,
    client: Option<ClientAddr>,
    proxy: Option<TrustedProxy>,
    host: Option<HeaderValue>,
) {
    let before = match proxy {
        Some(_) => joined(headers, &X_FORWARDED_FOR),
        None => {
            remove_forged(headers);
            None
        }
    };
    let next = proxy
        .map(|proxy| proxy.0)
        .or(client.map(|client| client.0))
        .map(|address| address.to_string());
    let chain: Vec<String> = before.into_iter().chain(next).collect();
    if let Ok(chain) = HeaderValue::try_from(chain.join(", "))
        && !chain.is_empty()
    {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    // The listener speaks plain HTTP; a proxy before it that is trusted says what it spoke.
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
}

/// Takes out what only a proxy may say.
fn remove_forged(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(FORWARDED_PREFIX))
        .cloned()
        .collect();
    for name in &forged {
        headers.remove(name);
    }
    headers.remove(FORWARDED);
    headers.remove("x-real-ip");
}

/// Returns the host that the client asked for; in HTTP/2 it stands in the address.
fn host(parts: &Parts) -> Option<HeaderValue> {
    match parts.headers.get(HOST) {
        Some(host) => Some(host.clone()),
        None => HeaderValue::from_str(parts.uri.authority()?.as_str()).ok(),
    }
}

/// HTTP/2 may send cookies one by one, HTTP/1.1 takes them in one line only.
/// <https://www.rfc-editor.org/rfc/rfc9113#name-compressing-the-cookie-head>
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(line) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, line);
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Takes out what may not stand in trailers: what frames a message, and what only
/// the paywall reads or says.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    for name in [AUTHORIZATION, CONTENT_LENGTH, HOST, TRAILER, X_CASHU] {
        trailers.remove(name);
    }
    trailers.remove("payment-receipt");
}

/// Returns whether `token` stands in the list that the headers called `name` are.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(tokens)
        .any(|found| found.eq_ignore_ascii_case(token))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(|token| token.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::Request;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/a/data/v1").extension(ClientAddr(addr("192.0.2.7")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(parts: &Parts, expected: &[(&str, &str)]) {
        let mut found: Vec<(&str, &str)> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn headers_of_one_connection_end_here() {
        let mut parts = request(&[
            ("connection", "x-once, close"),
            ("x-once", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("te", "gzip"),
            ("accept", "*/*"),
        ]);

        remove_hop_by_hop(&mut parts.headers);

        check(&parts, &[("accept", "*/*"), ("expect", "100-continue")]);
    }

    #[test]
    fn what_a_client_forges_is_replaced() {
        let mut parts = request(&[
            ("host", "shop.example"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "1"),
            ("x-real-ip", "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
            ("via", "1.0 elsewhere"),
        ]);

        rewrite_request(&mut parts, false);

        check(
            &parts,
            &[
                ("via", "1.0 elsewhere"),
                ("via", "1.1 feria"),
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "http"),
            ],
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_named_itself() {
        let mut parts = request(&[
            ("host", "10.0.0.1"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
        ]);
        parts.extensions.insert(TrustedProxy(addr("10.0.0.9")));

        rewrite_request(&mut parts, true);

        check(
            &parts,
            &[
                ("via", "1.1 feria"),
                ("x-forwarded-for", "192.0.2.7, 10.0.0.9"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "https"),
            ],
        );
    }

    #[test]
    fn trailers_are_asked_for_as_the_protocol_wants_it() {
        for (is_http2, expected) in [(true, None), (false, Some("te"))] {
            let mut parts = request(&[("te", "gzip;q=0.5, trailers"), ("trailer", "x-sum")]);
            rewrite_request(&mut parts, is_http2);
            assert_eq!(parts.headers[TE], "trailers");
            assert_eq!(parts.headers[TRAILER], "x-sum");
            let connection = parts.headers.get(CONNECTION);
            assert_eq!(
                connection.map(HeaderValue::as_bytes),
                expected.map(str::as_bytes)
            );
        }
    }

    #[test]
    fn split_cookies_are_one_line_in_http_1() {
        let mut parts = request(&[("cookie", "a=1"), ("cookie", "b=2")]);
        rewrite_request(&mut parts, false);
        assert_eq!(parts.headers[COOKIE], "a=1; b=2");
    }

    #[test]
    fn trailers_speak_neither_of_payments_nor_of_framing() {
        let mut trailers = HeaderMap::new();
        for name in ["x-cashu", "authorization", "content-length", "grpc-status"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        clean_trailers(&mut trailers);
        assert_eq!(trailers.len(), 1);
    }
}
