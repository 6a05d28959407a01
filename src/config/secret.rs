//! References to secrets. A secret itself never stands in a configuration file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ConfigError;

/// The largest secret file that is read.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// Where a secret is kept: `env:VARIABLE`, or `file:PATH` (relative to the data folder).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// A variable of the process.
    Env(String),
    /// A file that only its owner may read.
    File(PathBuf),
}

impl TryFrom<String> for SecretRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(
                "write where the secret is kept, \"env:VARIABLE\" or \"file:PATH\", never the secret itself"
                    .to_owned(),
            ),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        match reference {
            SecretRef::Env(name) => format!("env:{name}"),
            SecretRef::File(path) => format!("file:{}", path.display()),
        }
    }
}

impl SecretRef {
    /// Returns the file this reference means, if it means one.
    #[must_use]
    pub fn path(&self, data_dir: &Path) -> Option<PathBuf> {
        match self {
            Self::Env(_) => None,
            Self::File(path) => Some(data_dir.join(path)),
        }
    }

    /// Reads the secret, without white space around it.
    ///
    /// # Errors
    /// When it is missing, too large, not text, or a file that others may read.
    pub fn read(&self, data_dir: &Path) -> Result<Zeroizing<String>, ConfigError> {
        let bytes = self.read_bytes(data_dir)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| self.fault("it is not text"))?;
        Ok(Zeroizing::new(text.trim().to_owned()))
    }

    /// Reads the secret as it is.
    ///
    /// # Errors
    /// When it is missing, too large, or a file that others may read.
    pub fn read_bytes(&self, data_dir: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        match self {
            Self::Env(name) => std::env::var(name)
                .map(|text| Zeroizing::new(text.into_bytes()))
                .map_err(|_| self.fault("the variable is not set")),
            Self::File(path) => {
                read_private(&data_dir.join(path)).map_err(|reason| self.fault(&reason))
            }
        }
    }

    fn fault(&self, reason: &str) -> ConfigError {
        ConfigError::Secret {
            reference: String::from(self.clone()),
            reason: reason.to_owned(),
        }
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::os::unix::fs::PermissionsExt;

    let metadata =
        std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "others may read {}: run `chmod 600` on it",
            path.display()
        ));
    }
    if metadata.len() > MAX_SECRET_BYTES {
        return Err(format!("{} is too large for a secret", path.display()));
    }
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_secret_is_refused() {
        assert!(SecretRef::try_from("nsec1abc".to_owned()).is_err());
        assert!(SecretRef::try_from("env:".to_owned()).is_err());
        assert_eq!(
            SecretRef::try_from("file:seed".to_owned()),
            Ok(SecretRef::File(PathBuf::from("seed")))
        );
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        std::fs::write(&path, "secret\n").unwrap();
        let reference = SecretRef::File(PathBuf::from("seed"));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let wide = reference.read(folder.path()).unwrap_err().to_string();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let narrow = reference.read(folder.path()).unwrap();

        assert!(wide.contains("chmod 600"), "{wide}");
        assert_eq!(narrow.as_str(), "secret");
    }
}
