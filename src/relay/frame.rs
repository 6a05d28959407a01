//! Reading a relay's frame.

use nostr::event::{Event, EventId};
use nostr::message::RelayMessage;

/// Names a subscription on the wire: its number, and how often it was sent.
///
/// The count tells the answer to a repeated `REQ` from a late one to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireId {
    pub(super) number: u64,
    pub(super) round: u32,
}

impl WireId {
    pub(super) fn text(self) -> String {
        format!("{:x}-{:x}", self.number, self.round)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, round) = text.split_once('-')?;
        Some(Self {
            number: u64::from_str_radix(number, 16).ok()?,
            round: u32::from_str_radix(round, 16).ok()?,
        })
    }
}

/// A message of a relay, as far as a link cares. Nothing in it is verified.
#[derive(Debug)]
pub(super) enum Incoming {
    Event(WireId, Box<Event>),
    Ok(EventId, bool, String),
    EndOfStored(WireId),
    Closed(WireId, String),
    Notice(String),
    Challenge(String),
    /// A message of the protocol that a link does not use, or about a
    /// subscription that is not ours.
    Other,
}

/// Parses a frame. `None` is nonsense.
pub(super) fn parse(text: &str) -> Option<Incoming> {
    let message = RelayMessage::from_json(text).ok()?;
    Some(match message {
        RelayMessage::Event {
            subscription_id,
            event,
        } => WireId::parse(subscription_id.as_str()).map_or(Incoming::Other, |id| {
            Incoming::Event(id, Box::new(event.into_owned()))
        }),
        RelayMessage::Ok {
            event_id,
            status,
            message,
        } => Incoming::Ok(event_id, status, message.into_owned()),
        RelayMessage::EndOfStoredEvents(id) => {
            WireId::parse(id.as_str()).map_or(Incoming::Other, Incoming::EndOfStored)
        }
        RelayMessage::Closed {
            subscription_id,
            message,
        } => WireId::parse(subscription_id.as_str()).map_or(Incoming::Other, |id| {
            Incoming::Closed(id, message.into_owned())
        }),
        RelayMessage::Notice(text) => Incoming::Notice(text.into_owned()),
        RelayMessage::Auth { challenge } => Incoming::Challenge(challenge.into_owned()),
        RelayMessage::Count { .. } | RelayMessage::NegMsg { .. } | RelayMessage::NegErr { .. } => {
            Incoming::Other
        }
    })
}

/// Returns the id that an `EVENT` frame claims, by a look at the bytes that costs
/// a hundredth of parsing. Good enough to drop an event, never to admit one.
pub(super) fn claimed_event(text: &str) -> Option<(WireId, EventId)> {
    let rest = text.strip_prefix(r#"["EVENT",""#)?;
    let (id, rest) = rest.split_once('"')?;
    let claim = r#""id":""#;
    let start = rest.find(claim)? + claim.len();
    let hex = rest.get(start..start + 64)?;
    Some((WireId::parse(id)?, EventId::from_hex(hex).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            let _ = parse(&text);
            let _ = claimed_event(&text);
            let _ = claimed_event(&format!("[\"EVENT\",\"0-0\",{{\"id\":\"{text}"));
        }

        #[test]
        fn wire_ids_are_read_as_written(number: u64, round: u32) {
            let id = WireId { number, round };
            prop_assert_eq!(WireId::parse(&id.text()), Some(id));
        }
    }
}
