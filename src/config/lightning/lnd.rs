//! `[lightning.backends.NAME]` with `kind = "lnd"`: an lnd that somebody else runs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::config::{ConfigError, SecretRef};

/// The largest certificate file that is read.
const MAX_CERTIFICATE_BYTES: u64 = 64 * 1024;

/// How an lnd is reached, over its REST interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LndConfig {
    /// Its REST address. `http` is for loopback only. Default `https://127.0.0.1:8080`.
    pub url: String,
    /// Its macaroon: a file as lnd writes it, or hexadecimal text in a variable. Needs
    /// `info:read invoices:read invoices:write offchain:read offchain:write`.
    /// Default `file:lnd.macaroon`.
    pub macaroon: SecretRef,
    /// Its certificate in PEM, relative to the data folder; nothing else is trusted
    /// then. Empty: the public authorities decide. Default `lnd.cert`.
    pub tls_cert: String,
    /// Whether invoices name private channels. Default false.
    pub private_hints: bool,
}

impl Default for LndConfig {
    fn default() -> Self {
        Self {
            url: "https://127.0.0.1:8080".to_owned(),
            macaroon: SecretRef::File(PathBuf::from("lnd.macaroon")),
            tls_cert: "lnd.cert".to_owned(),
            private_hints: false,
        }
    }
}

impl LndConfig {
    /// Says which key cannot be used, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let url = Url::parse(&self.url).map_err(|error| ("url", error.to_string()))?;
        match url.scheme() {
            "https" => Ok(()),
            // The macaroon would cross the network in the clear.
            "http" if is_loopback(&url) => Ok(()),
            _ => Err((
                "url",
                "write an https address; http is for an lnd on this machine".to_owned(),
            )),
        }
    }

    /// Reads the certificate; `None` when the public authorities decide.
    ///
    /// # Errors
    /// When the file is missing or too large.
    pub fn read_certificate(&self, data_dir: &Path) -> Result<Option<String>, ConfigError> {
        if self.tls_cert.is_empty() {
            return Ok(None);
        }
        let path = data_dir.join(&self.tls_cert);
        let read = std::fs::metadata(&path).and_then(|metadata| {
            if metadata.len() > MAX_CERTIFICATE_BYTES {
                return Err(std::io::Error::other("too large for a certificate"));
            }
            std::fs::read_to_string(&path)
        });
        read.map(Some)
            .map_err(|source| ConfigError::File { path, source })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, is_good: bool) {
        let config = LndConfig {
            url: url.to_owned(),
            ..LndConfig::default()
        };
        assert_eq!(config.check().is_ok(), is_good, "{url}");
    }

    #[test]
    fn a_macaroon_never_travels_in_the_clear() {
        check("https://lnd.example:8080", true);
        check("http://127.0.0.1:8080", true);
        check("http://[::1]:8080", true);
        check("http://10.0.0.2:8080", false);
        check("http://lnd.example", false);
        check("lnd.example:8080", false);
    }
}
