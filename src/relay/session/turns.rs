//! What a relay said and nobody has dealt with yet, in its order.
//!
//! Events are verified beside the session, in batches; whatever else the relay says
//! waits behind the events that came before it. So the end of the stored events is
//! never told before the last of them, and a connection that ends gives up nothing
//! of what it brought.

use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::stream::{FuturesOrdered, StreamExt};
use nostr::event::Event;

use super::super::frame::{Incoming, WireId};
use super::super::verify::{BATCH, Checked, Verifiers};
use super::End;

/// Most turns that wait: no more is read then, so that a relay is slowed down to what
/// can be verified.
const MAX_TURNS: usize = 16;

/// Something that the relay said.
pub(super) enum Turn {
    Events(Vec<Checked>),
    Said(Incoming),
    /// The connection has ended.
    Over(End),
}

#[derive(Default)]
pub(super) struct Turns {
    /// Events that the socket gave and nobody has looked at.
    batch: Vec<(WireId, Event)>,
    queue: FuturesOrdered<BoxFuture<'static, Turn>>,
    is_over: bool,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.queue.is_empty()
    }

    /// Returns whether more may be read from the socket.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < MAX_TURNS
    }

    /// Returns whether the connection has ended and only what it brought is left.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns whether events wait for [`Self::verify`].
    pub(super) fn has_batch(&self) -> bool {
        !self.batch.is_empty()
    }

    pub(super) fn add_event(&mut self, id: WireId, event: Event, verifiers: &Verifiers) {
        self.batch.push((id, event));
        if self.batch.len() >= BATCH {
            self.verify(verifiers);
        }
    }

    /// Has the events that were added so far verified.
    pub(super) fn verify(&mut self, verifiers: &Verifiers) {
        if !self.batch.is_empty() {
            let checked = verifiers.check(std::mem::take(&mut self.batch));
            self.queue.push_back(checked.map(Turn::Events).boxed());
        }
    }

    /// Puts what was said behind everything that came before it.
    pub(super) fn add_said(&mut self, said: Incoming, verifiers: &Verifiers) {
        self.verify(verifiers);
        self.queue.push_back(ready(Turn::Said(said)).boxed());
    }

    /// Ends the session with `end` once everything that came before is through. Gives
    /// `end` back if nothing is.
    pub(super) fn end(&mut self, end: End, verifiers: &Verifiers) -> Option<End> {
        if self.is_over || self.is_empty() || matches!(end, End::Idle) {
            return Some(end);
        }
        self.is_over = true;
        self.verify(verifiers);
        self.queue.push_back(ready(Turn::Over(end)).boxed());
        None
    }

    /// Returns the next turn; `None` while there is none.
    pub(super) async fn next(&mut self) -> Option<Turn> {
        self.queue.next().await
    }
}
