//! Vectors shared with other implementations, and tampering.

use serde::Deserialize;

use super::*;
use crate::payment::{PaymentHash, Preimage};

/// Checked against pymacaroons and npm's `macaroon` by `tests/interop`, and in part
/// against Go's gopkg.in/macaroon.v2: all write the same bytes.
const VECTORS: &str = include_str!("../../../../../tests/vectors/l402-macaroons.json");

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret_hex: Option<String>,
    preimage_hex: Option<String>,
    narrowed_from: Option<String>,
    #[serde(default)]
    narrowed_by: Vec<String>,
    root_key_hex: String,
    signing_key_hex: String,
    location: String,
    version: u16,
    payment_hash_hex: String,
    token_id_hex: String,
    identifier_hex: String,
    caveats: Vec<String>,
    signature_hex: String,
    v2_hex: String,
    base64: String,
    base64_unpadded: String,
    base64url: String,
    base64url_unpadded: String,
}

impl Vector {
    fn identifier(&self) -> Vec<u8> {
        hex::decode(&self.identifier_hex).unwrap()
    }

    /// Makes the macaroon from its root key.
    fn signed(&self) -> Macaroon {
        let root_key = hex::decode(&self.root_key_hex).unwrap();
        let predicates = self.caveats.iter().cloned().map(String::into_bytes);
        let signed = sign(&root_key, &self.identifier(), predicates, |_| {}).unwrap();
        Macaroon::from_inner(signed).unwrap()
    }

    /// Reads the macaroon from its standard form.
    fn read(&self) -> Macaroon {
        Macaroon::parse(&self.base64).unwrap()
    }
}

fn vectors() -> Vec<Vector> {
    let file: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert!(file.vectors.len() >= 6);
    file.vectors
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
fn the_shared_vectors_are_what_is_signed_and_written() {
    for vector in vectors() {
        let macaroon = vector.signed();

        let name = &vector.name;
        assert_eq!(
            hex::encode(macaroon.signature()),
            vector.signature_hex,
            "{name}"
        );
        assert_eq!(hex::encode(macaroon.as_bytes()), vector.v2_hex, "{name}");
        assert_eq!(macaroon.to_base64(), vector.base64, "{name}");
        assert_eq!(
            macaroon.to_base64_url(),
            vector.base64url_unpadded,
            "{name}"
        );
        assert_eq!(vector.location, LOCATION);
    }
}

#[test]
fn every_form_of_the_shared_vectors_is_read_alike() {
    for vector in vectors() {
        for form in [
            &vector.base64,
            &vector.base64_unpadded,
            &vector.base64url,
            &vector.base64url_unpadded,
        ] {
            let read = Macaroon::parse(form).unwrap();
            let caveats = read.caveats().unwrap();
            let caveats: Vec<_> = caveats.iter().map(Caveat::to_string).collect();

            assert_eq!(hex::encode(read.as_bytes()), vector.v2_hex, "{form}");
            assert_eq!(read.identifier(), vector.identifier());
            assert_eq!(caveats, vector.caveats);
        }
    }
    // The alphabets and the paddings differ in some vector, or this shows nothing.
    let all: String = vectors().into_iter().map(|vector| vector.base64).collect();
    assert!(all.contains('+') && all.contains('/') && all.contains("=="));
}

#[test]
fn the_shared_vectors_state_their_keys_and_identifiers() {
    for vector in vectors() {
        let root_key = hex::decode(&vector.root_key_hex).unwrap();
        let mut label = [0; 32];
        label[..24].copy_from_slice(b"macaroons-key-generator\0");
        let mut mac = Hmac::<Sha256>::new_from_slice(&label).unwrap();
        mac.update(&root_key);
        let identifier = Identifier::decode(&vector.identifier()).unwrap();

        assert_eq!(
            hex::encode(mac.finalize().into_bytes()),
            vector.signing_key_hex
        );
        assert_eq!(identifier.payment_hash.to_string(), vector.payment_hash_hex);
        assert_eq!(hex::encode(identifier.token_id), vector.token_id_hex);
        assert_eq!(vector.version, 0);
        if let Some(preimage) = &vector.preimage_hex {
            let preimage: Preimage = preimage.parse().unwrap();
            assert!(preimage.opens(&identifier.payment_hash));
        }
    }
}

#[test]
fn an_issuer_recognises_the_shared_vectors_of_its_secret() {
    let mut recognised = 0;
    for vector in vectors() {
        let Some(secret) = &vector.secret_hex else {
            continue;
        };
        let issuer = Issuer::new(&hex::decode(secret).unwrap().try_into().unwrap());

        let root_key = issuer.root_key(&vector.identifier()).unwrap();
        let verified = issuer.verify(&vector.read()).unwrap();

        assert_eq!(hex::encode(&*root_key), vector.root_key_hex);
        assert_eq!(verified.caveats.len(), vector.caveats.len());
        recognised += 1;
    }
    assert_eq!(recognised, 2);
}

#[test]
fn a_holder_narrows_a_shared_vector_to_the_bytes_of_another() {
    let all = vectors();
    let narrowed = all.iter().find(|one| one.narrowed_from.is_some()).unwrap();
    let from = narrowed.narrowed_from.as_ref().unwrap();
    let from = all.iter().find(|one| one.name == *from).unwrap();

    let mut macaroon = from.read();
    for caveat in &narrowed.narrowed_by {
        let caveat = Caveat::parse(caveat.as_bytes()).unwrap();
        macaroon = macaroon.attenuate(&caveat).unwrap();
    }

    assert_eq!(hex::encode(macaroon.as_bytes()), narrowed.v2_hex);
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
