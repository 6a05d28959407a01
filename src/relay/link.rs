//! The task of one connection: dial, serve, wait, dial again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use nostr::key::Keys;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::health::Health;
use super::session::{End, Session};
use super::work::{Command, Work};
use super::{LinkKey, Shared, socket};

/// A link without work is kept so long before it is given up.
const LINGER: Duration = Duration::from_secs(60);

pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    key: LinkKey,
    pub(super) identity: Option<Keys>,
    pub(super) health: Arc<Health>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) work: Work,
}

impl Link {
    pub(super) fn new(
        shared: Arc<Shared>,
        key: LinkKey,
        identity: Option<Keys>,
        health: Arc<Health>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            shared,
            key,
            identity,
            health,
            commands,
            work: Work::default(),
        }
    }

    pub(super) fn url(&self) -> &nostr::types::RelayUrl {
        &self.key.url
    }

    /// Keeps the connection up for as long as there is work for it.
    pub(super) async fn run(mut self) {
        let mut failures: u32 = 0;
        let health = Arc::clone(&self.health);
        loop {
            if self.work.is_idle() && !self.has_more_work().await {
                return;
            }
            let dialled = {
                let _state = health.hold_dialling();
                let reach = self.shared.reach_of(&self.key.url);
                socket::dial(&self.key.url, &self.shared.options, reach).await
            };
            let lost = match dialled {
                Ok(socket) => {
                    let opened_at = self.shared.clock.now_millis();
                    let end = {
                        let _state = health.hold_connected();
                        Session::new(&mut self, socket).run().await
                    };
                    let End::Lost(reason) = end else { continue };
                    if self.is_stable_since(opened_at) {
                        failures = 0;
                    }
                    self.work.retry_requests(&reason);
                    reason
                }
                Err(reason) => {
                    self.work.fail_requests(&reason);
                    reason
                }
            };
            failures = failures.saturating_add(1);
            debug!(relay.url = %self.key.url, failures, reason = %lost, "connection to a relay lost");
            health.set_error(&lost);
            self.wait(failures).await;
        }
    }

    fn is_stable_since(&self, opened_at_millis: u64) -> bool {
        let now = self.shared.clock.now_millis();
        let stood = now.saturating_sub(opened_at_millis);
        u128::from(stood) >= self.shared.timing.stable_after.as_millis()
    }

    /// Waits for a command. Returns `false` when none came and the link is to end.
    async fn has_more_work(&mut self) -> bool {
        while self.work.is_idle() {
            match timeout(LINGER, self.commands.recv()).await {
                Ok(Some(command)) => self.work.add(command),
                Ok(None) => return false,
                Err(_elapsed) => {
                    let mut links = self.shared.links.lock();
                    // Commands are sent under this lock: none can slip in between.
                    if self.commands.is_empty() {
                        links.remove(&self.key);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Waits before the next dial. A request cuts a long wait short, to the
    /// length of a first one.
    async fn wait(&mut self, failures: u32) {
        let timing = self.shared.timing;
        let wait = timing.wait(failures, self.shared.entropy.as_ref());
        let short = wait.min(timing.backoff_base);
        let mut is_requested = self.work.has_requests();
        let mut pause = Box::pin(sleep(short));
        let mut is_long = false;
        loop {
            tokio::select! {
                () = &mut pause => {
                    if is_long || is_requested || wait == short {
                        return;
                    }
                    is_long = true;
                    pause = Box::pin(sleep(wait.saturating_sub(short)));
                }
                Some(command) = self.commands.recv() => {
                    is_requested |= command.is_request();
                    self.work.add(command);
                    if is_long && is_requested {
                        return;
                    }
                }
                Some(wake) = self.work.wakes.next() => {
                    self.work.on_wake(wake);
                    if self.work.is_idle() {
                        return;
                    }
                }
            }
        }
    }
}
