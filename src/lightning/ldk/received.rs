//! The order in which invoices were settled: a file of records of one length.
//!
//! The node tells of each payment once, until it hears that it was written down. A
//! kill in between makes it tell the last one again, which is seen by its hash.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use feria_paywall::amount::Msat;
use feria_paywall::payment::PaymentHash;
use parking_lot::Mutex;

use crate::lightning::SettledInvoice;

/// The payment hash, then the amount in millisatoshi, big-endian.
const RECORD_BYTES: usize = 40;
/// Records returned at most.
const MAX_RECORDS: usize = 1_000;

/// The file.
#[derive(Debug)]
pub(super) struct Received(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    count: u64,
    last: Option<PaymentHash>,
}

impl Received {
    /// Opens the file at `path`; what a kill left of a record is cut off.
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;

        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        let count = length / RECORD_BYTES as u64;
        file.set_len(count * RECORD_BYTES as u64)?;
        let mut inner = Inner {
            file,
            count,
            last: None,
        };
        if let Some(before_last) = count.checked_sub(1) {
            inner.last = inner
                .read(before_last, 1)?
                .pop()
                .map(|one| one.payment_hash);
        }
        Ok(Self(Mutex::new(inner)))
    }

    /// Appends a payment, unless it is the last one again.
    pub(super) fn append(&self, hash: &PaymentHash, amount: Msat) -> std::io::Result<()> {
        let mut inner = self.0.lock();
        if inner.last == Some(*hash) {
            return Ok(());
        }
        let mut record = [0; RECORD_BYTES];
        record[..32].copy_from_slice(hash.as_bytes());
        record[32..].copy_from_slice(&amount.as_u64().to_be_bytes());
        let end = inner.count * RECORD_BYTES as u64;
        inner.file.seek(SeekFrom::Start(end))?;
        inner.file.write_all(&record)?;
        inner.file.sync_data()?;
        inner.count += 1;
        inner.last = Some(*hash);
        Ok(())
    }

    /// Returns what was settled after `index`; the first payment has index 1.
    pub(super) fn since(&self, index: u64) -> std::io::Result<Vec<SettledInvoice>> {
        self.0.lock().read(index, MAX_RECORDS)
    }
}

impl Inner {
    fn read(&mut self, after: u64, limit: usize) -> std::io::Result<Vec<SettledInvoice>> {
        let left = self.count.saturating_sub(after);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(limit);
        if count == 0 {
            return Ok(Vec::new());
        }
        let start = after * RECORD_BYTES as u64;
        self.file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; count * RECORD_BYTES];
        self.file.read_exact(&mut bytes)?;
        let records = bytes.as_chunks::<RECORD_BYTES>().0;
        Ok(records
            .iter()
            .zip(after + 1..)
            .map(|(record, index)| settled(record, index))
            .collect())
    }
}

fn settled(record: &[u8; RECORD_BYTES], index: u64) -> SettledInvoice {
    let (mut hash, mut amount) = ([0; 32], [0; 8]);
    hash.copy_from_slice(&record[..32]);
    amount.copy_from_slice(&record[32..]);
    SettledInvoice {
        index,
        payment_hash: PaymentHash::new(hash),
        amount: Msat::new(u64::from_be_bytes(amount)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(received: &Received, index: u64) -> Vec<(u64, u64)> {
        let found = received.since(index).unwrap();
        found
            .iter()
            .map(|one| (one.index, one.amount.as_u64()))
            .collect()
    }

    #[test]
    fn what_is_told_twice_or_half_written_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received");
        let hash = |byte: u8| PaymentHash::new([byte; 32]);
        let received = Received::open(&path).unwrap();
        received.append(&hash(1), Msat::new(10)).unwrap();
        received.append(&hash(2), Msat::new(20)).unwrap();
        drop(received);
        let half = [0xab; RECORD_BYTES / 2];
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(&half).unwrap();

        let received = Received::open(&path).unwrap();
        received.append(&hash(2), Msat::new(20)).unwrap();
        received.append(&hash(3), Msat::new(30)).unwrap();

        assert_eq!(indexes(&received, 0), [(1, 10), (2, 20), (3, 30)]);
        assert_eq!(indexes(&received, 2), [(3, 30)]);
        assert_eq!(indexes(&received, 9), []);
    }
}
