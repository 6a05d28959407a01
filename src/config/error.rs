//! What can be wrong with the configuration, in words that say what to do.

use std::path::PathBuf;

/// A configuration that cannot be used. Each names the file, or the variable, and the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file: the data folder was never set up.
    #[error("no configuration at {path}: run `feria init`, or name another folder with --data-dir")]
    Missing {
        /// The file looked for.
        path: PathBuf,
    },
    /// The file or folder is there but cannot be read or written.
    #[error("cannot use {path}: {source}; check its owner and permissions")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and fault.
        reason: String,
    },
    /// A key that no version of this program reads.
    #[error("{origin}: unknown key `{key}`{}", hint(.suggestion.as_deref()))]
    UnknownKey {
        /// The file or variable it came from.
        origin: String,
        /// The full path of the key, dots between.
        key: String,
        /// The nearest known key.
        suggestion: Option<String>,
    },
    /// A known key with a value that does not fit.
    #[error("{origin}: `{key}` cannot be used: {reason}")]
    Value {
        /// The file or variable it came from.
        origin: String,
        /// The full path of the key, dots between.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A part that only pretends to move money, on a node that does not pretend.
    #[error(
        "`{key}` asks for a simulated part, but `network` is \"{network}\": remove it, or set network = \"simulated\" to play"
    )]
    Simulated {
        /// The key that asks for it.
        key: String,
        /// The network of this node.
        network: &'static str,
    },
    /// A secret that is referred to but is not there, or is not fit for use.
    #[error("secret `{reference}` cannot be used: {reason}")]
    Secret {
        /// The reference, which is no secret.
        reference: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; remove it, or see the sample for all keys".to_owned(),
        |known| format!("; did you mean `{known}`?"),
    )
}
