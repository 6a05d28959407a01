//! `[[mints]]`: the Cashu mints this node trusts with money.

use std::path::{Path, PathBuf};

use feria_paywall::amount::Sat;
use serde::{Deserialize, Serialize};

use super::{CONFIG_FILE, Config, ConfigError, Environment, units, write_private};

/// A mint that may hold money of this node. A mint can vanish with what it holds:
/// the cap says how much that may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintEntry {
    /// Its URL, without trailing slash.
    pub url: String,
    /// The most it may hold for this node. Default `10000sat`.
    #[serde(with = "units::sat", default = "default_cap")]
    pub cap: Sat,
}

fn default_cap() -> Sat {
    Sat::new(10_000)
}

impl MintEntry {
    /// Adds this mint to `feria.toml` in `data_dir` and returns the file's path. The
    /// rest of the file, comments included, stays as it is; a kill leaves the old
    /// file or the new one.
    ///
    /// # Errors
    /// When the file cannot be used before or after, or names this mint already.
    pub fn trust(
        &self,
        data_dir: &Path,
        environment: &Environment,
    ) -> Result<PathBuf, ConfigError> {
        let path = data_dir.join(CONFIG_FILE);
        let refused = |key: &str, reason: String| ConfigError::Value {
            origin: path.display().to_string(),
            key: format!("mints.{key}"),
            reason,
        };
        let url = self.url.trim_end_matches('/');
        self.check().map_err(|(key, reason)| refused(key, reason))?;
        let before = Config::load(data_dir, environment)?;
        if before.mints.iter().any(|mint| mint.url == url) {
            return Err(refused(
                "url",
                format!("{url} is there already; edit its cap in the file"),
            ));
        }
        let fault = |source| ConfigError::File {
            path: path.clone(),
            source,
        };
        let old = std::fs::read_to_string(&path).map_err(fault)?;
        let entry = toml::to_string(&Self {
            url: url.to_owned(),
            cap: self.cap,
        })
        .map_err(|error| refused("url", error.to_string()))?;
        // A table at the end of the file belongs to nothing above it. It only clashes
        // with mints that are written in one line, and then the text does not parse.
        let new = format!("{}\n\n[[mints]]\n{entry}", old.trim_end());
        if new.parse::<toml::Table>().is_err() {
            return Err(refused(
                "url",
                "the mints are written as one array: add it there by hand".to_owned(),
            ));
        }
        write_private(&path, &new).map_err(fault)?;
        Ok(path)
    }

    /// Checks the values; names the key at fault.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        match url::Url::parse(&self.url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => {
                Ok(())
            }
            _ => Err((
                "url",
                format!("{:?} is no http:// or https:// URL", self.url),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, urls: &[&str]) -> Result<Vec<MintEntry>, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG_FILE), before).unwrap();
        for url in urls {
            MintEntry {
                url: (*url).to_owned(),
                cap: Sat::new(500),
            }
            .trust(folder.path(), &Environment::default())?;
        }
        Ok(Config::load(folder.path(), &Environment::default())?.mints)
    }

    #[test]
    fn a_trusted_mint_is_read_back() {
        let mints = check(
            crate::config::SAMPLE,
            &["https://a.example/", "https://b.example"],
        )
        .unwrap();

        assert_eq!(mints.len(), 2);
        assert_eq!(mints[0].url, "https://a.example");
        assert_eq!(mints[1].cap, Sat::new(500));
    }

    #[test]
    fn what_cannot_be_added_says_why() {
        for (before, urls, expected) in [
            ("", &["nonsense"][..], "http"),
            ("", &["https://a.example", "https://a.example/"], "already"),
            ("mints = []", &["https://a.example"], "by hand"),
        ] {
            let error = check(before, urls).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
