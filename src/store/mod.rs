//! The only SQL of the node: two SQLite files with two duties.
//!
//! - [`ledger`]: `ledger.db`, precious. Double-entry postings and the journals of
//!   everything that moves money. It may never be deleted.
//! - [`index`]: `index.db`, rebuildable. Raw Nostr events as received and verified,
//!   and the catalog projected from them.
//!
//! One writer connection per file behind a lock that is only taken on a blocking
//! thread, never across an await. A function that changes money takes the open
//! transaction of its caller, so that the fact and its postings commit together.

pub mod error;
pub mod index;
pub mod ledger;
mod migration;

pub use error::StoreError;

use std::path::Path;

/// Creates the file at `path` for its owner alone (0600) if it is missing, and its folder (0700).
pub(crate) fn private_file(path: &Path) -> Result<(), StoreError> {
    use std::fs::{DirBuilder, OpenOptions};
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

    let fault = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fault)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(fault)
}
