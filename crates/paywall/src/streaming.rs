//! Answers that are on their way to their payers and will be kept at their end.
//!
//! A call is committed before its answer streams, and a copy is kept only when the
//! stream has ended. Whoever lost the connection in between and asks again must not
//! hear that his payment is used up: he would pay twice. He is told to wait.
//!
//! In memory only: a stream does not outlive its process either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::{PaymentKey, RequestKey};

/// By what a repeat is recognised, as in [`crate::journal::Journal::find_response`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Mark {
    /// [`RequestKey::digest`].
    Request([u8; 32]),
    /// [`RequestKey::idempotency_key`].
    Key(String),
}

type Counts = HashMap<(PaymentKey, Mark), usize>;

/// How many answers to each payment and request stream now. Holds no more than
/// there are open calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streaming(Arc<Mutex<Counts>>);

/// One answer that streams; dropped when its copy is kept or given up.
#[derive(Debug)]
pub(crate) struct Stream {
    all: Streaming,
    marks: Vec<(PaymentKey, Mark)>,
}

impl Streaming {
    pub(crate) fn begin(&self, payment: PaymentKey, request: &RequestKey) -> Stream {
        let key = request.idempotency_key.clone().map(Mark::Key);
        let marks: Vec<_> = [Some(Mark::Request(request.digest)), key]
            .into_iter()
            .flatten()
            .map(|mark| (payment, mark))
            .collect();
        let mut counts = self.counts();
        for mark in &marks {
            *counts.entry(mark.clone()).or_default() += 1;
        }
        drop(counts);
        Stream {
            all: self.clone(),
            marks,
        }
    }

    /// Returns whether the answer to an earlier `request` with this payment streams now.
    pub(crate) fn contains(&self, payment: PaymentKey, request: &RequestKey) -> bool {
        let mark = match &request.idempotency_key {
            Some(key) => Mark::Key(key.clone()),
            None => Mark::Request(request.digest),
        };
        self.counts().contains_key(&(payment, mark))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        for mark in &self.marks {
            if let Some(count) = counts.get_mut(mark) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(mark);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYMENT: PaymentKey = PaymentKey([1; 32]);

    fn request(key: Option<&str>) -> RequestKey {
        RequestKey {
            digest: [2; 32],
            idempotency_key: key.map(str::to_owned),
            body_hash: None,
        }
    }

    #[test]
    fn a_stream_counts_until_the_last_one_has_ended() {
        let streaming = Streaming::default();
        let one = streaming.begin(PAYMENT, &request(None));
        let other = streaming.begin(PAYMENT, &request(Some("k")));

        drop(one);
        assert!(streaming.contains(PAYMENT, &request(None)));
        drop(other);
        assert!(!streaming.contains(PAYMENT, &request(None)));
        assert!(streaming.counts().is_empty());
    }

    #[test]
    fn another_key_names_another_call() {
        let streaming = Streaming::default();
        let _stream = streaming.begin(PAYMENT, &request(Some("k")));

        assert!(streaming.contains(PAYMENT, &request(Some("k"))));
        assert!(!streaming.contains(PAYMENT, &request(Some("l"))));
        assert!(!streaming.contains(PaymentKey([3; 32]), &request(None)));
    }
}
