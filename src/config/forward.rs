//! How the calls of one agent reach its upstream; part of `agents/<name>.toml`.
//!
//! A time of 0 means the node's own, from `[gateway]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ConfigError, SecretRef};

/// The largest file of certificates that is read.
const MAX_CERTIFICATES_BYTES: u64 = 1024 * 1024;
/// The most headers that are put into, or taken out of, each call.
const MAX_HEADERS: usize = 64;
/// The longest that any phase of a call may be given.
const MAX_SECS: u64 = 7 * 86_400;
/// What frames a message, or concerns one connection, is the proxy's own.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the calls of one agent reach its upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForwardConfig {
    /// Whether the upstream is spoken to in HTTP/2 from the first byte, as gRPC
    /// needs; an `h2c://` upstream is in any case. Default false: HTTP/1.1.
    pub http2: bool,
    /// Where the certificates are that alone may vouch for an `https://` upstream,
    /// in PEM: `file:PATH` or `env:VARIABLE`. Default empty: the system's.
    pub upstream_ca: String,
    /// How long a connection to the upstream may take to open, in seconds.
    /// Default 0: the node's.
    pub connect_timeout_secs: u64,
    /// How long the upstream may take to begin its answer, in seconds. Default 0:
    /// the node's.
    pub upstream_timeout_secs: u64,
    /// How long either side may pause within a body, in seconds. Default 0: the node's.
    pub pause_timeout_secs: u64,
    /// How long a call may take in all, in seconds. Default 0: the node's.
    pub call_timeout_secs: u64,
    /// How long a WebSocket may be silent both ways, in seconds. Default 0: the node's.
    pub tunnel_idle_timeout_secs: u64,
    /// Headers of the client that the upstream does not get. Default none.
    pub strip_request_headers: Vec<String>,
    /// Headers of the upstream that the client does not get. Default none.
    pub strip_response_headers: Vec<String>,
    /// Headers that the upstream gets whatever the client sent: name = value, the
    /// value as it is, or `env:VARIABLE`, or `file:PATH`. Default none.
    pub inject: BTreeMap<String, InjectedValue>,
}

/// The value of an injected header, or where it is kept. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InjectedValue(String);

impl fmt::Debug for InjectedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InjectedValue(..)")
    }
}

impl From<&str> for InjectedValue {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl InjectedValue {
    /// Returns the value, marked as one that is not to be printed.
    ///
    /// # Errors
    /// When the secret cannot be read, or is none that a header can carry.
    fn read(&self, name: &str, data_dir: &Path) -> Result<HeaderValue, ConfigError> {
        let (text, reference) = match SecretRef::try_from(self.0.clone()) {
            Ok(reference) => (reference.read(data_dir)?, String::from(reference)),
            Err(_) => (Zeroizing::new(self.0.clone()), format!("inject.{name}")),
        };
        let mut value = HeaderValue::from_str(text.as_str()).map_err(|_| ConfigError::Secret {
            reference,
            reason: format!("the header {name} cannot carry what is there"),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl ForwardConfig {
    /// Reads the values of all injected headers.
    ///
    /// # Errors
    /// Names the reference that cannot be read.
    pub fn read_injected(
        &self,
        data_dir: &Path,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
        self.inject
            .iter()
            .map(|(name, value)| {
                let parsed = header_name(name).map_err(|reason| ConfigError::Secret {
                    reference: format!("inject.{name}"),
                    reason,
                })?;
                Ok((parsed, value.read(name, data_dir)?))
            })
            .collect()
    }

    /// Reads the certificates that alone may vouch for the upstream; `None` for the
    /// system's. They are no secret: others may read the file.
    ///
    /// # Errors
    /// When the file or variable cannot be read.
    pub fn read_authorities(&self, data_dir: &Path) -> Result<Option<String>, ConfigError> {
        if self.upstream_ca.is_empty() {
            return Ok(None);
        }
        let fault = |reason: String| ConfigError::Secret {
            reference: self.upstream_ca.clone(),
            reason,
        };
        match SecretRef::try_from(self.upstream_ca.clone()).map_err(fault)? {
            SecretRef::Env(name) => std::env::var(name)
                .map(Some)
                .map_err(|_| fault("the variable is not set".to_owned())),
            SecretRef::File(path) => {
                let path = data_dir.join(path);
                let described = |error| fault(format!("{}: {error}", path.display()));
                if std::fs::metadata(&path).map_err(described)?.len() > MAX_CERTIFICATES_BYTES {
                    return Err(fault("it is larger than 1 MiB".to_owned()));
                }
                std::fs::read_to_string(&path).map(Some).map_err(described)
            }
        }
    }

    /// Checks the values; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if !self.upstream_ca.is_empty() && SecretRef::try_from(self.upstream_ca.clone()).is_err() {
            return Err((
                "upstream_ca",
                "write where the certificates are, \"file:PATH\" or \"env:VARIABLE\"".to_owned(),
            ));
        }
        for (key, value) in [
            ("connect_timeout_secs", self.connect_timeout_secs),
            ("upstream_timeout_secs", self.upstream_timeout_secs),
            ("pause_timeout_secs", self.pause_timeout_secs),
            ("call_timeout_secs", self.call_timeout_secs),
            ("tunnel_idle_timeout_secs", self.tunnel_idle_timeout_secs),
        ] {
            if value > MAX_SECS {
                return Err((key, format!("{value} is more than {MAX_SECS} seconds")));
            }
        }
        let (request, response) = (&self.strip_request_headers, &self.strip_response_headers);
        for (key, names) in [
            ("strip_request_headers", request.iter().collect::<Vec<_>>()),
            ("strip_response_headers", response.iter().collect()),
            ("inject", self.inject.keys().collect()),
        ] {
            if names.len() > MAX_HEADERS {
                return Err((key, format!("name at most {MAX_HEADERS} headers")));
            }
            for name in names {
                header_name(name).map_err(|reason| (key, reason))?;
            }
        }
        Ok(())
    }
}

/// Returns the header `name`, unless it is the proxy's own.
fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| format!("{name:?} is no header name"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(format!("{name} is set by the gateway itself"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injecting(value: &str) -> ForwardConfig {
        ForwardConfig {
            inject: BTreeMap::from([("x-key".to_owned(), value.into())]),
            ..ForwardConfig::default()
        }
    }

    #[test]
    fn injected_values_are_read_from_where_they_are_kept_and_never_printed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from a file\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();

        for (written, value) in [("file:key", "from a file"), ("plain: text", "plain: text")] {
            let config = injecting(written);
            let read = config.read_injected(folder.path()).unwrap();
            assert_eq!(read[0].1, value);
            assert!(!format!("{config:?} {read:?}").contains(value));
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let missing = injecting("env:FERIA_TEST_NOT_SET").read_injected(Path::new("."));

        let message = missing.unwrap_err().to_string();
        assert!(message.contains("env:FERIA_TEST_NOT_SET"), "{message}");
    }

    #[test]
    fn headers_of_the_connection_can_be_neither_injected_nor_stripped() {
        let mut config = injecting("1");
        assert_eq!(config.check(), Ok(()));
        config.strip_request_headers = vec!["Content-Length".to_owned()];
        assert_eq!(config.check().unwrap_err().0, "strip_request_headers");
        config.strip_request_headers = vec!["no name".to_owned()];
        assert_eq!(config.check().unwrap_err().0, "strip_request_headers");
    }
}
