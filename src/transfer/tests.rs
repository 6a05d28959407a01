//! Tests of the wire and of payee records; the rest runs on real parts in `tests/it`.

use nostr::event::{Event, EventBuilder, FinalizeEvent, Kind, Tag};
use nostr::key::{Keys, SecretKey};
use nostr::types::Timestamp;

use super::message::{self, Content, Payment};
use super::payee::Payee;
use super::*;
use crate::clock::SeededEntropy;

const NOW: u64 = 1_800_000_000;

fn keys(seed: u8) -> Keys {
    Keys::new(SecretKey::from_slice(&[seed; 32]).unwrap())
}

fn payment(relays: &[String]) -> Payment<'_> {
    const NO_PROOFS: &Vec<feria_paywall::xcashu::cashu::nuts::Proof> = &Vec::new();
    Payment {
        id: "t1",
        memo: "thanks",
        mint: "https://mint.example",
        proofs: NO_PROOFS,
        reply_relays: relays,
    }
}

#[test]
fn a_payment_is_read_by_its_payee_alone() {
    let (payer, payee, stranger) = (keys(1), keys(2), keys(3));
    let relays = vec![
        "ws://one.example".to_owned(),
        "http://no.example".to_owned(),
    ];
    let (from, to) = (payer.public_key(), payee.public_key());
    let rumor = message::payment_rumor(&from, &to, &payment(&relays), NOW).unwrap();

    let wrap = message::wrap(&payer, &to, &rumor, NOW, &SeededEntropy::new(1)).unwrap();

    let letter = message::unwrap(&payee, &wrap).unwrap();
    assert_eq!(letter.sender, payer.public_key());
    assert_eq!(letter.rumor_id, rumor.compute_id().to_bytes());
    let Content::Payment {
        payload,
        reply_relays,
    } = letter.content
    else {
        panic!("not a payment");
    };
    assert_eq!(payload.memo.as_deref(), Some("thanks"));
    assert_eq!(reply_relays, ["ws://one.example"]);
    assert!(message::unwrap(&stranger, &wrap).is_none());
    assert_ne!(wrap.pubkey, payer.public_key());
    assert!(wrap.created_at.as_secs() <= NOW);
}

#[test]
fn a_resend_is_the_same_message_in_another_wrap() {
    let (payer, payee) = (keys(1), keys(2));
    let (from, to) = (payer.public_key(), payee.public_key());
    let entropy = SeededEntropy::new(1);
    let make = || {
        let rumor = message::payment_rumor(&from, &to, &payment(&[]), NOW).unwrap();
        message::wrap(&payer, &to, &rumor, NOW, &entropy).unwrap()
    };

    let (first, second) = (make(), make());

    assert_ne!(first.id, second.id);
    let rumor_id = |wrap| message::unwrap(&payee, wrap).unwrap().rumor_id;
    assert_eq!(rumor_id(&first), rumor_id(&second));
}

#[test]
fn an_acknowledgement_names_the_message_it_answers() {
    let (payer, payee) = (keys(1), keys(2));
    let (from, to) = (payee.public_key(), payer.public_key());
    let id = "ab".repeat(32);
    let rumor = message::received_rumor(&from, &to, &id, NOW).unwrap();

    let wrap = message::wrap(&payee, &to, &rumor, NOW, &SeededEntropy::new(1)).unwrap();

    let letter = message::unwrap(&payer, &wrap).unwrap();
    assert!(matches!(letter.content, Content::Received { rumor_id } if rumor_id == [0xab; 32]));
}

#[test]
fn a_chat_message_is_not_ours() {
    let (sender, agent) = (keys(1), keys(2));
    for text in ["hello", "{}", "{\"type\":\"feria/transfer-received\"}"] {
        let rumor = EventBuilder::new(Kind::PrivateDirectMessage, text);
        let rumor =
            nostr::event::FinalizeUnsignedEvent::finalize_unsigned(rumor, sender.public_key());
        let to = agent.public_key();
        let wrap = message::wrap(&sender, &to, &rumor, NOW, &SeededEntropy::new(1)).unwrap();

        let letter = message::unwrap(&agent, &wrap).unwrap();

        assert!(matches!(letter.content, Content::Other), "{text}");
    }
}

#[test]
fn junk_is_not_opened() {
    let agent = keys(2);
    let far_too_long = "A".repeat(200_000);
    for content in ["", "not base64", "AgAAAA==", far_too_long.as_str()] {
        let wrap = EventBuilder::new(Kind::GiftWrap, content)
            .tag(Tag::public_key(agent.public_key()))
            .finalize(&keys(9))
            .unwrap();

        assert!(message::unwrap(&agent, &wrap).is_none());
    }
}

fn record(keys: &Keys, kind: Kind, at: u64, tags: &[&[&str]]) -> Event {
    let tags = tags
        .iter()
        .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
    EventBuilder::new(kind, "")
        .tags(tags)
        .custom_created_at(Timestamp::from(at))
        .finalize(keys)
        .unwrap()
}

#[test]
fn the_newest_records_of_a_payee_count() {
    let payee = keys(2);
    let key = "03".to_owned() + &"ab".repeat(32);
    let records = [
        record(
            &payee,
            Kind::InboxRelays,
            1,
            &[&["relay", "wss://old.example"]],
        ),
        record(
            &payee,
            Kind::InboxRelays,
            2,
            &[&["relay", "wss://new.example"], &["relay", "x"]],
        ),
        record(
            &keys(5),
            Kind::InboxRelays,
            9,
            &[&["relay", "wss://other.example"]],
        ),
        record(
            &payee,
            Kind::CashuNutZapInfo,
            1,
            &[
                &["mint", "https://a.example", "sat"],
                &["mint", "https://usd.example", "usd"],
                &["mint", "https://b.example"],
                &["pubkey", &key],
            ],
        ),
    ];

    let found = Payee::read(&payee.public_key(), &records).unwrap();

    assert_eq!(found.relays, ["wss://new.example"]);
    assert_eq!(found.mints, ["https://a.example", "https://b.example"]);
    assert_eq!(found.lock_key, key);
}

#[test]
fn a_payee_without_a_record_is_not_reachable() {
    let payee = keys(2);
    let inbox = record(
        &payee,
        Kind::InboxRelays,
        1,
        &[&["relay", "wss://a.example"]],
    );
    let no_key = record(
        &payee,
        Kind::CashuNutZapInfo,
        1,
        &[&["mint", "https://a.example"]],
    );
    for (records, word) in [
        (vec![], "10050"),
        (vec![inbox.clone()], "10019"),
        (vec![inbox, no_key], "P2PK key"),
    ] {
        let error = Payee::read(&payee.public_key(), &records).unwrap_err();

        assert!(error.to_string().contains(word), "{error}");
        assert!(matches!(error, TransferError::NotReachable { .. }));
    }
}
