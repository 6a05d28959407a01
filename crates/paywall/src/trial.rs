//! Free calls to try a service with, counted per client.
//!
//! One counter per client, service and capability, in a table of fixed size. A
//! window begins with a client's first call and forgets it at its end. The table
//! is in memory: a restart gives every client its trial calls again, which is
//! worth less to a seller than a row written per stranger.
//!
//! When the table is full there are no trials for newcomers, and none for a client
//! without an address: then nobody could be told from anybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::client::block;
use crate::price::{Terms, Trial};

/// How many counters there are at most.
const MAX_COUNTERS: usize = 4_096;

/// A client and what it tries: service and capability.
type Key = (IpAddr, String, String);

#[derive(Debug, Clone, Copy)]
struct Counter {
    used: u32,
    /// When the window is over. Milliseconds.
    ends_at: u64,
}

/// Counts free calls.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    counters: Mutex<HashMap<Key, Counter>>,
}

/// One free call that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    key: Key,
    /// Tells the window it was taken in from a later one.
    ends_at: u64,
    /// Free calls left after this one.
    pub(crate) remaining: u32,
}

impl Trials {
    /// Takes one of the client's free calls, if there is one left.
    pub(crate) fn take(
        &self,
        terms: &Terms,
        client: Option<IpAddr>,
        now_millis: u64,
    ) -> Option<Taken> {
        let trial: &Trial = terms.trial.as_ref().filter(|trial| trial.calls > 0)?;
        let key = (
            block(client?),
            terms.service.clone(),
            terms.capability.clone(),
        );
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_COUNTERS && !counters.contains_key(&key) {
            counters.retain(|_, counter| counter.ends_at > now_millis);
            if counters.len() >= MAX_COUNTERS {
                return None;
            }
        }
        let fresh = Counter {
            used: 0,
            ends_at: now_millis.saturating_add(trial.window_secs.saturating_mul(1_000)),
        };
        let counter = counters.entry(key.clone()).or_insert(fresh);
        if counter.ends_at <= now_millis {
            *counter = fresh;
        }
        let remaining = trial.calls.checked_sub(counter.used)?.checked_sub(1)?;
        counter.used += 1;
        Some(Taken {
            key,
            ends_at: counter.ends_at,
            remaining,
        })
    }

    /// Gives a free call back that was not served.
    pub(crate) fn give_back(&self, taken: &Taken) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get_mut(&taken.key)
            && counter.ends_at == taken.ends_at
        {
            counter.used = counter.used.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Msat;

    fn terms(calls: u32) -> Terms {
        Terms {
            trial: Some(Trial {
                calls,
                window_secs: 10,
            }),
            ..Terms::new("echo", "say", Msat::new(1_000))
        }
    }

    fn client(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    fn left(trials: &Trials, client: Option<IpAddr>, now: u64) -> Option<u32> {
        let taken = trials.take(&terms(2), client, now)?;
        Some(taken.remaining)
    }

    #[test]
    fn each_client_has_its_calls_once_a_window() {
        let trials = Trials::default();

        assert_eq!(left(&trials, client(1), 0), Some(1));
        assert_eq!(left(&trials, client(1), 9_999), Some(0));
        assert_eq!(left(&trials, client(1), 9_999), None);
        assert_eq!(left(&trials, client(2), 9_999), Some(1));
        assert_eq!(left(&trials, client(1), 10_000), Some(1));
    }

    #[test]
    fn without_a_trial_or_an_address_there_is_none() {
        let trials = Trials::default();
        let none = Terms::new("echo", "say", Msat::new(1_000));

        assert_eq!(left(&trials, None, 0), None);
        assert!(trials.take(&none, client(1), 0).is_none());
        assert!(trials.take(&terms(0), client(1), 0).is_none());
    }

    #[test]
    fn a_call_given_back_counts_in_its_own_window_alone() {
        let trials = Trials::default();
        let early = trials.take(&terms(2), client(1), 0).unwrap();
        trials.give_back(&early);
        assert_eq!(left(&trials, client(1), 0), Some(1));
        assert_eq!(left(&trials, client(1), 0), Some(0));

        assert_eq!(left(&trials, client(1), 10_000), Some(1));
        trials.give_back(&early);

        assert_eq!(left(&trials, client(1), 10_000), Some(0));
        assert_eq!(left(&trials, client(1), 10_000), None);
    }

    #[test]
    fn a_full_table_has_no_trials_for_newcomers() {
        let trials = Trials::default();
        for number in 0..MAX_COUNTERS as u32 {
            assert_eq!(left(&trials, client(number), 0), Some(1));
        }

        assert_eq!(left(&trials, client(u32::MAX), 0), None);
        assert_eq!(left(&trials, client(1), 0), Some(0));
        assert_eq!(left(&trials, client(u32::MAX), 10_000), Some(1));
        assert_eq!(trials.counters.lock().unwrap().len(), 1);
    }
}
