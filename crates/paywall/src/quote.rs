//! The price that a client was told, for the ecash that it sends afterwards.
//!
//! A macaroon carries its price; a token cannot. So each 402 that offers ecash is
//! remembered for as long as its invoice could be paid: price by client, service,
//! capability and request. A token that covers an open quote is taken at it, even
//! if the price has risen since; when it has fallen, today's price counts.
//!
//! The table is bounded and in memory. What falls out of it, or a restart, costs a
//! client no money: a token that is too little by then is refused untouched.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::amount::Msat;
#[cfg(any(test, feature = "cashu"))]
use crate::amount::Sat;
use crate::client::{SHARED, block};
use crate::price::Terms;

/// How many quotes are remembered; the oldest makes room.
const MAX_QUOTES: usize = 4_096;
/// Quotes for one request that are open at a time: prices rise seldom within one.
const MAX_OPEN: usize = 4;

/// Names client, service, capability and request.
type Key = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quote {
    price: Msat,
    /// Unix seconds; open before.
    until: u64,
}

/// Remembers prices that were told.
#[derive(Debug, Default)]
pub(crate) struct Quotes {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Oldest first, and with it cheapest first: a lower price told later replaces.
    open: HashMap<Key, Vec<Quote>>,
    /// In the order they were told.
    order: VecDeque<(Key, Quote)>,
}

impl Quotes {
    /// Remembers that `client` was told the price of `terms` for this request.
    pub(crate) fn tell(&self, terms: &Terms, client: Option<IpAddr>, digest: &[u8; 32], now: u64) {
        let key = key(terms, client, digest);
        let quote = Quote {
            price: terms.price,
            until: now.saturating_add(terms.invoice_expiry_secs),
        };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let open = table.open.entry(key).or_default();
        open.retain(|old| old.until > now && old.price < quote.price);
        if open.len() == MAX_OPEN {
            open.pop();
        }
        open.push(quote);
        table.order.push_back((key, quote));
        table.make_room(now);
    }

    /// Returns the price at which a token worth `amount` is taken, if the client was
    /// told one that it covers: of several the newest.
    #[cfg(any(test, feature = "cashu"))]
    pub(crate) fn covered(
        &self,
        terms: &Terms,
        client: Option<IpAddr>,
        digest: &[u8; 32],
        amount: Sat,
        now: u64,
    ) -> Option<Msat> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .open
            .get(&key(terms, client, digest))?
            .iter()
            .rev()
            .find(|quote| quote.until > now && quote.price.ceil_sat() <= amount)
            .map(|quote| quote.price)
    }
}

impl Table {
    /// Forgets what is over, and the oldest beyond the limit.
    fn make_room(&mut self, now: u64) {
        while let Some((key, quote)) = self.order.front().copied() {
            if quote.until > now && self.order.len() <= MAX_QUOTES {
                return;
            }
            self.order.pop_front();
            if let Some(open) = self.open.get_mut(&key) {
                open.retain(|known| *known != quote);
                if open.is_empty() {
                    self.open.remove(&key);
                }
            }
        }
    }
}

fn key(terms: &Terms, client: Option<IpAddr>, digest: &[u8; 32]) -> Key {
    let client = client.map_or(SHARED, block).to_string();
    let mut hash = Sha256::new();
    for part in [&client, &terms.service, &terms.capability] {
        // The length keeps two parts from being read as one.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(digest);
    let full: [u8; 32] = hash.finalize().into();
    let mut key = Key::default();
    key.copy_from_slice(&full[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn terms(sat: u64) -> Terms {
        Terms {
            invoice_expiry_secs: 60,
            ..Terms::new("echo", "say", Sat::new(sat).to_msat())
        }
    }

    fn covered(quotes: &Quotes, sat: u64, now: u64) -> Option<u64> {
        quotes
            .covered(&terms(0), CLIENT, &[1; 32], Sat::new(sat), now)
            .map(|price| price.ceil_sat().as_u64())
    }

    #[test]
    fn a_quote_is_good_for_its_client_request_and_time() {
        let quotes = Quotes::default();
        quotes.tell(&terms(10), CLIENT, &[1; 32], 0);

        assert_eq!(covered(&quotes, 10, 59), Some(10));
        assert_eq!(covered(&quotes, 9, 59), None);
        assert_eq!(covered(&quotes, 10, 60), None);
        let ask = |client, digest| quotes.covered(&terms(0), client, digest, Sat::new(10), 0);
        assert_eq!(ask(CLIENT, &[2; 32]), None);
        assert_eq!(ask(None, &[1; 32]), None);
    }

    #[test]
    fn a_token_is_taken_at_the_newest_quote_it_covers() {
        let quotes = Quotes::default();
        quotes.tell(&terms(10), CLIENT, &[1; 32], 0);
        quotes.tell(&terms(12), CLIENT, &[1; 32], 30);

        assert_eq!(covered(&quotes, 11, 30), Some(10));
        assert_eq!(covered(&quotes, 13, 30), Some(12));
        assert_eq!(covered(&quotes, 11, 60), None);
        assert_eq!(covered(&quotes, 12, 60), Some(12));
    }

    #[test]
    fn a_lower_price_told_later_replaces_the_higher() {
        let quotes = Quotes::default();
        quotes.tell(&terms(12), CLIENT, &[1; 32], 0);
        quotes.tell(&terms(10), CLIENT, &[1; 32], 1);

        assert_eq!(covered(&quotes, 99, 1), Some(10));
    }

    #[test]
    fn rising_prices_keep_the_lowest_and_the_newest() {
        let quotes = Quotes::default();
        for sat in 10..30 {
            quotes.tell(&terms(sat), CLIENT, &[1; 32], 0);
        }

        assert_eq!(covered(&quotes, 10, 0), Some(10));
        assert_eq!(covered(&quotes, 29, 0), Some(29));
    }

    #[test]
    fn the_table_does_not_grow() {
        let quotes = Quotes::default();
        for number in 0..10_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            quotes.tell(&terms(10), CLIENT, &digest, 0);
        }
        {
            let table = quotes.table.lock().unwrap();
            assert_eq!(
                (table.open.len(), table.order.len()),
                (MAX_QUOTES, MAX_QUOTES)
            );
        }
        quotes.tell(&terms(10), CLIENT, &[1; 32], 60);

        let table = quotes.table.lock().unwrap();
        assert_eq!((table.open.len(), table.order.len()), (1, 1));
    }
}
