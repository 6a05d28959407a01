//! Vectors shared with other implementations, and tampering.

use serde::Deserialize;

use super::*;
use crate::payment::PaymentHash;

/// Checked against Go's gopkg.in/macaroon.v2, which writes the same bytes.
const VECTORS: &str = include_str!("../../../../../tests/vectors/l402-macaroons.json");

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    root_key_hex: String,
    identifier_hex: String,
    caveats: Vec<String>,
    signature_hex: String,
    macaroon_base64: String,
}

fn identifier() -> Identifier {
    Identifier {
        payment_hash: PaymentHash::new([0x11; 32]),
        token_id: [0x22; 32],
    }
}

fn uses(count: &str) -> Caveat {
    Caveat::new("uses", count).unwrap()
}

#[test]
fn the_shared_vectors_hold() {
    let file: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert!(!file.vectors.is_empty());
    for vector in file.vectors {
        let signed = sign(
            &hex::decode(&vector.root_key_hex).unwrap(),
            &hex::decode(&vector.identifier_hex).unwrap(),
            vector
                .caveats
                .iter()
                .map(|caveat| caveat.clone().into_bytes()),
            |_| {},
        )
        .unwrap();
        let macaroon = Macaroon::from_inner(signed).unwrap();

        assert_eq!(
            hex::encode(macaroon.signature()),
            vector.signature_hex,
            "{}",
            vector.name
        );
        assert_eq!(macaroon.to_base64(), vector.macaroon_base64);
        let read = Macaroon::parse(&vector.macaroon_base64).unwrap();
        assert_eq!(hex::encode(read.identifier()), vector.identifier_hex);
        let caveats = read.caveats().unwrap();
        let caveats: Vec<_> = caveats.iter().map(Caveat::to_string).collect();
        assert_eq!(caveats, vector.caveats);
    }
}

#[test]
fn an_issued_macaroon_is_recognised_with_its_caveats() {
    let issuer = Issuer::new(&[7; 32]);
    let issued = issuer.issue(&identifier(), &[uses("3")]).unwrap();
    let narrowed = issued.attenuate(&uses("1")).unwrap();
    let received = Macaroon::parse(&narrowed.to_base64()).unwrap();

    let verified = issuer.verify(&received).unwrap();

    assert_eq!(verified.identifier, identifier());
    assert_eq!(verified.caveats, [uses("3"), uses("1")]);
}

#[test]
fn another_secret_or_a_changed_byte_is_refused() {
    let issuer = Issuer::new(&[7; 32]);
    let issued = issuer.issue(&identifier(), &[uses("3")]).unwrap();

    assert_eq!(
        Issuer::new(&[8; 32]).verify(&issued),
        Err(Reject::Signature)
    );
    for at in 0..issued.as_bytes().len() {
        let mut bytes = issued.as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(changed) = Macaroon::from_bytes(&bytes) else {
            continue;
        };
        // The location is a hint for people and not signed.
        if changed.identifier() == issued.identifier()
            && changed.caveats() == issued.caveats()
            && changed.signature() == issued.signature()
        {
            continue;
        }
        assert!(issuer.verify(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_caveat_cannot_be_taken_off() {
    let issuer = Issuer::new(&[7; 32]);
    let wide = issuer.issue(&identifier(), &[]).unwrap();
    let narrow = wide.attenuate(&uses("1")).unwrap();
    // The wide bytes with the narrow signature.
    let mut forged = wide.as_bytes().to_vec();
    let tail = forged.len() - 32;
    forged[tail..].copy_from_slice(&narrow.signature());

    let forged = Macaroon::from_bytes(&forged).unwrap();

    assert_eq!(issuer.verify(&forged), Err(Reject::Signature));
}

#[test]
fn third_party_caveats_and_other_identifiers_are_refused() {
    let issuer = Issuer::new(&[7; 32]);
    let mut inner = sign(
        &issuer.root_key(b"x").unwrap(),
        b"x",
        std::iter::empty(),
        |_| {},
    )
    .unwrap();
    inner.add_third_party_caveat("https://x", &MacaroonKey::generate(b"k"), "id".into());
    let third_party = Macaroon::from_inner(inner).unwrap();
    let other = issuer.issue_bytes(b"feria-access:1", &[]).unwrap();

    assert!(matches!(
        issuer.verify(&third_party),
        Err(Reject::Caveat(_))
    ));
    assert!(matches!(issuer.verify(&other), Err(Reject::Identifier(_))));
    assert_eq!(format!("{issuer:?}"), "Issuer(..)");
}
