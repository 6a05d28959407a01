//! Dialling a relay.
//!
//! A relay that only a stranger named is dialled on the public internet and
//! nowhere else. The name is resolved here, the addresses are checked, and the
//! connection goes to one that was checked: a second look-up could give another.

use std::net::SocketAddr;

use nostr::types::RelayUrl;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::{Host, Url};

use super::RelayOptions;
use crate::client::install_tls_provider;
use crate::protocol::net::is_public;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Small, because a node holds many connections that are mostly silent.
const BUFFER_BYTES: usize = 16 * 1024;

/// Where a link may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// To any address: the operator chose the relay, or the money is play money.
    Anywhere,
    /// To the public internet.
    Public,
}

/// Opens a websocket whose frames are capped before memory is taken for them.
/// Says in a few words why that failed.
pub(super) async fn dial(
    url: &RelayUrl,
    options: &RelayOptions,
    reach: Reach,
) -> Result<Socket, String> {
    if url.scheme().is_secure() {
        install_tls_provider();
    }
    match timeout(options.connect_timeout, open(url, options, reach)).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err("no connection in time".to_owned()),
    }
}

async fn open(url: &RelayUrl, options: &RelayOptions, reach: Reach) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(Some(options.max_frame_bytes))
        .max_message_size(Some(options.max_frame_bytes));
    let addresses = resolve(url, reach).await?;
    let stream = TcpStream::connect(addresses.as_slice())
        .await
        .map_err(|error| error.to_string())?;
    // Requests are small and waited for.
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    client_async_tls_with_config(url.as_str(), stream, Some(config), None)
        .await
        .map(|(socket, _response)| socket)
        .map_err(|error| error.to_string())
}

/// Returns the addresses of `url` that `reach` covers; at least one.
async fn resolve(url: &RelayUrl, reach: Reach) -> Result<Vec<SocketAddr>, String> {
    let parsed = Url::parse(url.as_str()).map_err(|error| error.to_string())?;
    let port = parsed.port_or_known_default().unwrap_or(443);
    let mut addresses: Vec<SocketAddr> = match parsed.host() {
        Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(Host::Domain(name)) => lookup_host((name, port))
            .await
            .map_err(|error| format!("the name cannot be resolved: {error}"))?
            .collect(),
        None => Vec::new(),
    };
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    if reach == Reach::Public {
        addresses.retain(|address| is_public(address.ip()));
    }
    if addresses.is_empty() {
        return Err(
            "it is on a private network and was named by a stranger; if it is yours, add it to relays.toml"
                .to_owned(),
        );
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_and_numbers_of_this_machine_are_not_the_public_internet() {
        for url in [
            "ws://127.0.0.1:7402",
            "ws://localhost:7402",
            "ws://[::1]:7402",
            "ws://[::ffff:127.0.0.1]:7402",
            "ws://2130706433/",
            "ws://0x7f.1/",
            "ws://169.254.169.254",
            "wss://10.0.0.1",
        ] {
            let url = RelayUrl::parse(url).unwrap();

            let refused = resolve(&url, Reach::Public).await.unwrap_err();

            assert!(refused.contains("relays.toml"), "{url}: {refused}");
        }
        let public = RelayUrl::parse("wss://1.1.1.1").unwrap();
        let found = resolve(&public, Reach::Public).await;
        assert_eq!(found, Ok(vec!["1.1.1.1:443".parse().unwrap()]));
    }
}
