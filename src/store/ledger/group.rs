//! Group commit: changes that wait for the disk at the same time wait for it once.
//!
//! A change is put into a queue. The first one finds nobody at work and starts the
//! *leader* on a blocking thread, which takes what waits (at most 128 changes),
//! runs it in one transaction, each change behind a savepoint of its own, commits
//! once, and only then answers. What arrives meanwhile is the next group; when
//! nothing waits, the leader ends. A change that is alone has no savepoint: it is
//! a plain transaction.
//!
//! ```text
//!         leader takes it           its work             the group's COMMIT
//! queued ────────────────▶ running ────ok────▶ kept ───────────▶ on disk ──▶ answered
//!                             │                  └──── fails ──▶ undone ───▶ answered: error
//!                             └─error, panic─▶ rolled back to its savepoint ▶ answered: error
//! ```
//!
//! | if the process dies while it is | then |
//! |---|---|
//! | queued, running or kept | nothing of the group is in the file, and nobody was told otherwise |
//! | on disk, not answered | the change is done and its caller does not know, as after any commit: recovery finds it |
//!
//! Changes run in the order in which they were asked for, and each sees those
//! before it. One that fails undoes itself alone. A fault that ends the
//! transaction itself (full disk, broken file) fails the whole group: everyone in
//! it is told so, and nothing of it was written. Dropping a caller does not take
//! its change out of the queue.
//!
//! It never answers before the commit has returned, and never runs a change twice.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, Transaction, TransactionBehavior, ffi};
use tokio::sync::oneshot;

use crate::store::StoreError;

/// Most changes of one group: about 5 ms of work, which the last one waits for the first.
const MAX_GROUP: usize = 128;

/// The queue in front of one connection.
pub(super) struct Writer {
    connection: Arc<Mutex<Connection>>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn Change>>,
    is_led: bool,
}

/// A change of any type of answer.
trait Change: Send {
    /// Does the work; false if what it did must be undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> bool;
    /// Tells the caller how it ended; `fault` is what the group failed with.
    fn answer(self: Box<Self>, fault: Option<&rusqlite::Error>);
}

struct Waiting<T, F> {
    what: &'static str,
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Change for Waiting<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        // A change that panics must not take the others of its group along.
        let outcome = catch_unwind(AssertUnwindSafe(|| work(transaction)));
        let outcome = outcome.unwrap_or(Err(StoreError::Stopped));
        let is_kept = outcome.is_ok();
        self.outcome = Some(outcome);
        is_kept
    }

    fn answer(self: Box<Self>, fault: Option<&rusqlite::Error>) {
        let outcome = match (self.outcome, fault) {
            (Some(Err(own)), _) => Err(own),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(fault)) => Err(StoreError::Sqlite {
                what: self.what,
                source: copy(fault),
            }),
            (None, None) => Err(StoreError::Stopped),
        };
        // The caller may have gone; what it asked for is done all the same.
        let _ = self.caller.send(outcome);
    }
}

impl Writer {
    pub(super) fn new(connection: Arc<Mutex<Connection>>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            queue: Mutex::default(),
        })
    }

    /// Queues `work` and waits until its group is on disk.
    pub(super) async fn run<T, F>(
        self: &Arc<Self>,
        what: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let change = Box::new(Waiting {
            what,
            work: Some(work),
            outcome: None,
            caller,
        });
        let is_first = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(change);
            !std::mem::replace(&mut queue.is_led, true)
        };
        if is_first {
            let leader = Leader(Some(Arc::clone(self)));
            tokio::task::spawn_blocking(move || leader.lead());
        }
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// Who empties the queue; there is one at a time.
struct Leader(Option<Arc<Writer>>);

impl Leader {
    fn lead(mut self) {
        while let Some(writer) = &self.0 {
            let mut queue = writer.queue.lock();
            let taken = queue.waiting.len().min(MAX_GROUP);
            if taken == 0 {
                queue.is_led = false;
                drop(queue);
                self.0 = None;
                return;
            }
            let group = queue.waiting.drain(..taken).collect();
            drop(queue);
            run_group(&writer.connection, group);
        }
    }
}

impl Drop for Leader {
    /// A leader that never ran, because the runtime is shutting down, leaves
    /// nobody waiting for it and the place free.
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            let mut queue = writer.queue.lock();
            queue.is_led = false;
            let abandoned = std::mem::take(&mut queue.waiting);
            drop(queue);
            drop(abandoned);
        }
    }
}

/// Runs and commits `group`, and answers everyone in it.
fn run_group(connection: &Mutex<Connection>, mut group: Vec<Box<dyn Change>>) {
    let mut connection = connection.lock();
    let fault = commit(&mut connection, &mut group).err();
    // Readers share the connection and must get their turn.
    MutexGuard::unlock_fair(connection);
    for change in group {
        change.answer(fault.as_ref());
    }
}

fn commit(
    connection: &mut Connection,
    group: &mut [Box<dyn Change>],
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let [alone] = group {
        return match alone.run(&transaction) {
            true => transaction.commit(),
            false => transaction.rollback(),
        };
    }
    for change in group {
        transaction
            .prepare_cached("SAVEPOINT change")?
            .execute([])?;
        let is_kept = change.run(&transaction);
        // Some faults end the transaction, and what came before in it with them.
        if transaction.is_autocommit() {
            return Err(gone());
        }
        if !is_kept {
            transaction
                .prepare_cached("ROLLBACK TO change")?
                .execute([])?;
        }
        transaction.prepare_cached("RELEASE change")?.execute([])?;
    }
    transaction.commit()
}

fn gone() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_ABORT),
        Some("the transaction was rolled back".to_owned()),
    )
}

/// SQLite's errors cannot be cloned, and each caller of a failed group gets one.
fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            rusqlite::Error::SqliteFailure(*code, text.clone())
        }
        other => rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_ERROR),
            Some(other.to_string()),
        ),
    }
}

#[cfg(test)]
mod tests;
