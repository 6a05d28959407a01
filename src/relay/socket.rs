//! Dialling a relay.

use nostr::types::RelayUrl;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::RelayOptions;
use crate::client::install_tls_provider;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Small, because a node holds many connections that are mostly silent.
const BUFFER_BYTES: usize = 16 * 1024;

/// Opens a websocket whose frames are capped before memory is taken for them.
/// Says in a few words why that failed.
pub(super) async fn dial(url: &RelayUrl, options: &RelayOptions) -> Result<Socket, String> {
    if url.scheme().is_secure() {
        install_tls_provider();
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(Some(options.max_frame_bytes))
        .max_message_size(Some(options.max_frame_bytes));
    let dialled = connect_async_with_config(url.as_str(), Some(config), true);
    match timeout(options.connect_timeout, dialled).await {
        Ok(Ok((socket, _response))) => Ok(socket),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no connection in time".to_owned()),
    }
}
