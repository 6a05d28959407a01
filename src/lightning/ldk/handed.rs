//! Which payments were handed to the node: an empty file each, named by the hash.
//!
//! Written before the node is told to pay and removed when the outcome is final.
//! The node writes a payment into its own list only after it has begun it, so
//! without this a kill in between would look like a payment never begun.

use std::fs::File;
use std::path::{Path, PathBuf};

use feria_paywall::payment::PaymentHash;

/// The folder of these files.
#[derive(Debug)]
pub(super) struct HandedOver(PathBuf);

impl HandedOver {
    pub(super) fn open(folder: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;

        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(Self(folder.to_owned()))
    }

    pub(super) fn note(&self, hash: &PaymentHash) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;

        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(self.file(hash))?.sync_all()?;
        // The name is in the folder, which has to reach the disk too.
        File::open(&self.0)?.sync_all()
    }

    pub(super) fn is_noted(&self, hash: &PaymentHash) -> bool {
        self.file(hash).exists()
    }

    /// Best effort: a file too many only means that the node is asked once more.
    pub(super) fn forget(&self, hash: &PaymentHash) {
        let _ = std::fs::remove_file(self.file(hash));
    }

    fn file(&self, hash: &PaymentHash) -> PathBuf {
        self.0.join(hash.to_string())
    }
}
