//! What has become of an invoice that this node made, for whoever has its hash.
//!
//! The page of a 402 asks while it is open. Nothing is stored for it: an unpaid
//! challenge has no row, so the Lightning backend is asked, with a deadline. Only
//! the state and the expiry are told, of own invoices alone; never an amount, a
//! payer or a preimage.
//!
//! ```text
//! waiting ──paid in time──► paid        both ends are final
//!    └──────time is over──► expired
//! ```
//!
//! What it may cost the node is bounded: questions per client and minute, open
//! watches per client and in all, and how long a watch lives. A watch ends with the node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use feria_paywall::payment::PaymentHash;
use feria_paywall::throttle::Throttle;
use parking_lot::Mutex;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Core, Gateway};
use crate::lightning::InvoiceState;

/// Questions that one client may ask in a minute; opening a watch is one.
const QUESTIONS_PER_MINUTE: u32 = 60;
/// Watches open at a time, and of one client.
const MAX_WATCHES: usize = 64;
const MAX_WATCHES_PER_CLIENT: usize = 4;
/// How often a watch asks the backend: all together at most 32 times a second.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long the backend may take to answer.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch lives at most; who still cares opens another.
const LIFETIME: Duration = Duration::from_secs(600);
/// When to come back after all watches were taken, in seconds.
const FULL_RETRY_SECS: u64 = 15;

/// What has become of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceNews {
    /// Not paid yet.
    Waiting {
        /// Unix seconds after which it cannot be paid any more.
        expires_at: u64,
    },
    /// Paid.
    Paid,
    /// Not paid in time.
    Expired,
}

/// Why there is no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNews {
    /// This node made no such invoice.
    Unknown,
    /// The client asks too often, or too many watch already.
    TooMany {
        /// Seconds until it may work.
        retry_after: u64,
    },
    /// The Lightning backend does not answer.
    Unavailable,
}

/// Who is asking, and how often.
#[derive(Debug)]
pub(super) struct Watchers {
    questions: Throttle,
    /// Open watches by client; never more than [`MAX_WATCHES`] entries.
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Follows one invoice until its state is final. Safe to drop at any moment.
pub struct InvoiceWatch {
    core: Arc<Core>,
    hash: PaymentHash,
    /// What was told last; `None` before the first news.
    told: Option<InvoiceNews>,
    news: InvoiceNews,
    end: Pin<Box<tokio::time::Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

/// A place among the open watches, given back when dropped.
struct Place {
    core: Arc<Core>,
    client: IpAddr,
}

impl InvoiceNews {
    /// Returns one word for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Paid => "paid",
            Self::Expired => "expired",
        }
    }

    /// Returns whether nothing can change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting { .. })
    }
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            questions: Throttle::new(QUESTIONS_PER_MINUTE),
            open: Mutex::default(),
        }
    }
}

impl Gateway {
    /// Returns what has become of the invoice `hash`.
    ///
    /// # Errors
    /// When this node did not make it, `client` asks too often, or nobody knows now.
    pub async fn invoice_news(
        &self,
        hash: &PaymentHash,
        client: IpAddr,
    ) -> Result<InvoiceNews, NoNews> {
        self.core.count_question(client)?;
        self.core.ask(hash).await
    }

    /// Begins to follow the invoice `hash`.
    ///
    /// # Errors
    /// As [`Self::invoice_news`], and when too many watch already.
    pub async fn watch_invoice(
        &self,
        hash: PaymentHash,
        client: IpAddr,
    ) -> Result<InvoiceWatch, NoNews> {
        self.core.count_question(client)?;
        let place = Place::take(&self.core, client)?;
        Ok(InvoiceWatch {
            news: self.core.ask(&hash).await?,
            told: None,
            hash,
            end: Box::pin(tokio::time::sleep(LIFETIME)),
            stopping: Box::pin(self.core.lifecycle.stopping()),
            core: Arc::clone(&self.core),
            _place: place,
        })
    }
}

impl InvoiceWatch {
    /// Returns the state at first, then each change; `None` when there will be
    /// none, or when the watch has lived long enough.
    pub async fn next(&mut self) -> Option<InvoiceNews> {
        loop {
            if self.told != Some(self.news) {
                self.told = Some(self.news);
                return self.told;
            }
            if self.news.is_final() {
                return None;
            }
            tokio::select! {
                () = &mut self.stopping => return None,
                () = &mut self.end => return None,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
            // While the backend is silent the last news stays good.
            if let Ok(news) = self.core.ask(&self.hash).await {
                self.news = news;
            }
        }
    }
}

impl Core {
    fn count_question(&self, client: IpAddr) -> Result<(), NoNews> {
        let now = self.clock.now_millis();
        self.watchers
            .questions
            .take(Some(client), now)
            .map_err(|retry_after| NoNews::TooMany { retry_after })
    }

    async fn ask(&self, hash: &PaymentHash) -> Result<InvoiceNews, NoNews> {
        let asked = tokio::time::timeout(ASK_PATIENCE, self.lightning.invoice_state(hash)).await;
        match asked {
            Ok(Ok(InvoiceState::Open { expires_at })) => Ok(InvoiceNews::Waiting { expires_at }),
            Ok(Ok(InvoiceState::Settled { .. })) => Ok(InvoiceNews::Paid),
            Ok(Ok(InvoiceState::Expired)) => Ok(InvoiceNews::Expired),
            Ok(Ok(InvoiceState::NotFound)) => Err(NoNews::Unknown),
            Ok(Err(error)) => {
                tracing::debug!(%error, "An invoice's state is not known now");
                Err(NoNews::Unavailable)
            }
            Err(_) => Err(NoNews::Unavailable),
        }
    }
}

impl Place {
    fn take(core: &Arc<Core>, client: IpAddr) -> Result<Self, NoNews> {
        let mut open = core.watchers.open.lock();
        let of_client = open.get(&client).copied().unwrap_or_default();
        if of_client >= MAX_WATCHES_PER_CLIENT || open.values().sum::<usize>() >= MAX_WATCHES {
            return Err(NoNews::TooMany {
                retry_after: FULL_RETRY_SECS,
            });
        }
        open.insert(client, of_client + 1);
        Ok(Self {
            core: Arc::clone(core),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut open) = self.core.watchers.open.lock().entry(self.client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}

impl fmt::Debug for InvoiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvoiceWatch")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}
