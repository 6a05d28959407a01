//! One process at a time on a data folder.
//!
//! Two would both believe that the other's open payments were left by a crash,
//! and finish them a second time. The lock is the system's: it goes with the
//! process, however that ends, and the file stays.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// The file in the data folder that is locked.
const LOCK_FILE: &str = "lock";

/// Locks `data_dir` until the returned file is dropped.
///
/// # Errors
/// When another process holds it, or the file cannot be made.
pub(crate) fn take(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another feria runs on {}", data_dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_until_its_node_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();

        let error = take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another feria runs on"), "{error}");
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");

        drop(first);
        assert!(take(folder.path()).is_ok());
    }
}
