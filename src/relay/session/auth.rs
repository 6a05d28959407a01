//! Proving an identity to a relay (NIP-42).
//!
//! A challenge is answered as soon as it comes, and everything is asked again
//! after the relay accepted the answer: relays that keep messages for their
//! addressee leave them out silently before.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/42.md>

use nostr::event::{EventBuilder, EventId, FinalizeEvent, Kind};
use nostr::message::ClientMessage;
use nostr::nips::nip42::Nip42Tag;
use nostr::types::Timestamp;

use super::super::frame::WireId;
use super::super::health::shorten;
use super::{Session, Step};

/// Challenges of one connection that are answered; each costs a signature.
const MAX_CHALLENGES: u32 = 4;
const MAX_CHALLENGE_BYTES: usize = 512;

/// How far the authentication of a connection has come.
pub(super) enum Auth {
    /// The relay has sent no challenge, or we have no identity to answer with.
    None,
    /// Waiting for the `OK` of this event.
    Sent(EventId),
    Done,
    Refused,
}

impl Session<'_> {
    /// Returns whether authentication may still succeed on this connection.
    pub(super) fn can_authenticate(&self) -> bool {
        self.link.identity.is_some() && matches!(self.auth, Auth::None | Auth::Sent(_))
    }

    pub(super) async fn on_challenge(&mut self, challenge: &str) -> Step {
        let Some(identity) = self.link.identity.clone() else {
            return Ok(());
        };
        self.challenges += 1;
        if self.challenges > MAX_CHALLENGES || challenge.len() > MAX_CHALLENGE_BYTES {
            return self.strike("a challenge too many or too long");
        }
        let now = Timestamp::from(self.link.shared.clock.now());
        let answer = EventBuilder::new(Kind::Authentication, "")
            .tags([
                Nip42Tag::Relay(self.link.url().clone()),
                Nip42Tag::Challenge(challenge.to_owned()),
            ])
            .custom_created_at(now)
            .finalize(&identity);
        match answer {
            Ok(event) => {
                self.auth = Auth::Sent(event.id);
                self.say(ClientMessage::auth(event)).await
            }
            Err(error) => {
                self.link.health.set_error(&error.to_string());
                Ok(())
            }
        }
    }

    pub(super) async fn on_auth_answer(&mut self, is_accepted: bool, message: &str) -> Step {
        if is_accepted {
            self.auth = Auth::Done;
            return self.repeat_after_auth().await;
        }
        self.auth = Auth::Refused;
        let reason = format!("auth refused: {}", shorten(message));
        self.link.health.set_error(&reason);
        self.settle_without_auth(&reason).await
    }

    async fn repeat_after_auth(&mut self) -> Step {
        let rounds: Vec<WireId> = self.rounds();
        for id in rounds {
            self.close(id).await?;
            self.request(id.number).await?;
        }
        for id in self.events_awaiting_auth() {
            self.send_event(id).await?;
        }
        Ok(())
    }

    /// Answers what was held back in the hope of an authentication.
    async fn settle_without_auth(&mut self, reason: &str) -> Step {
        for id in self.rounds() {
            let Some(subscription) = self.link.work.current(id) else {
                continue;
            };
            if subscription.is_awaiting_auth {
                self.refused(id, reason);
            } else if subscription.has_ended_early {
                self.end_stored(id).await?;
            }
        }
        for id in self.events_awaiting_auth() {
            let message = reason.to_owned();
            self.link
                .work
                .end_publish(id, || Ok((false, message.clone())));
        }
        Ok(())
    }

    fn events_awaiting_auth(&self) -> Vec<EventId> {
        let publishes = self.link.work.publishes.iter();
        publishes
            .filter(|(_, publish)| publish.is_awaiting_auth)
            .map(|(id, _)| *id)
            .collect()
    }
}
