//! What can go wrong with the two database files.

use std::path::PathBuf;

/// A fault of the database, or of what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused; the source says why.
    #[error("run {what}")]
    Sqlite {
        /// The function that asked.
        what: &'static str,
        /// SQLite's own error.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer version of this program: upgrade, or restore a backup.
    #[error(
        "open {path}: schema version {found} is newer than {known}, the newest this version knows"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version this program can read.
        known: u32,
    },
    /// The file or its folder cannot be created or read.
    #[error("open {path}")]
    File {
        /// The database file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The postings of an entry do not add up to zero. A bug: nothing was written.
    #[error("post entry {reference}: postings add up to {sum_msat} msat instead of 0")]
    Unbalanced {
        /// What the entry is about.
        reference: String,
        /// The sum of its postings.
        sum_msat: i64,
    },
    /// A stored value cannot be read back.
    #[error("read {table}.{column}: {reason}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with the value.
        reason: String,
    },
    /// The thread that runs the database died or was cancelled at shutdown.
    #[error("reach the database thread")]
    Stopped,
}

impl From<rusqlite::Error> for StoreError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite {
            what: "a statement",
            source,
        }
    }
}
