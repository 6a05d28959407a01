//! One test per hole that an offline acceptor can have.

use std::collections::BTreeMap;

use cashu::Amount;
use cashu::dhke::{blind_message, sign_message, unblind_message};
use cashu::nuts::{BlindSignature, ProofDleq, SecretKey};
use cashu::secret::Secret;

use super::*;
use crate::xcashu::token;

const NOW: u64 = 1_800_000_000;
const WINDOW: u64 = 3_600;
const SAFE: u64 = NOW + WINDOW;
const MINT: &str = "https://mint.example";

fn key(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn our_key() -> PublicKey {
    key(77).public_key()
}

/// A mint's keyset with its private half.
struct Signer {
    keys: BTreeMap<Amount, SecretKey>,
    info: KeysetInfo,
}

fn signer(seed: u8, fee_ppk: u64, final_expiry: Option<u64>) -> Signer {
    let keys: BTreeMap<_, _> = (0..6)
        .map(|power| (Amount::from(1 << power), key(seed + power)))
        .collect();
    let public = Keys::new(
        keys.iter()
            .map(|(amount, key)| (*amount, key.public_key()))
            .collect(),
    );
    let id = Id::v2_from_data(&public, &CurrencyUnit::Sat, fee_ppk, final_expiry);
    let info = KeysetInfo {
        id,
        unit: CurrencyUnit::Sat,
        active: true,
        input_fee_ppk: fee_ppk,
        final_expiry,
        keys: public,
    };
    Signer { keys, info }
}

impl Signer {
    /// Signs `secret` as the mint does, with a valid DLEQ proof.
    fn proof(&self, amount: u64, secret: &str) -> Proof {
        let amount = Amount::from(amount);
        let (blinded, r) = blind_message(secret.as_bytes(), None).unwrap();
        let mint_key = &self.keys[&amount];
        let c_blind = sign_message(mint_key, &blinded).unwrap();
        let signed =
            BlindSignature::new(amount, c_blind, self.info.id, &blinded, mint_key).unwrap();
        let dleq = signed.dleq.unwrap();
        let c = unblind_message(&c_blind, &r, &mint_key.public_key()).unwrap();
        Proof {
            dleq: Some(ProofDleq::new(dleq.e, dleq.s, r)),
            ..Proof::new(amount, self.info.id, Secret::new(secret), c)
        }
    }

    fn mint(&self) -> MintInfo {
        MintInfo {
            url: format!("{MINT}/"),
            enforces_p2pk: true,
            keysets: vec![self.info.clone()],
        }
    }
}

/// A P2PK secret to `key` with `tags` as JSON; `nonce` keeps secrets apart.
fn lock(nonce: u32, key: &PublicKey, tags: &str) -> String {
    format!(r#"["P2PK",{{"nonce":"{nonce:064x}","data":"{key}","tags":[{tags}]}}]"#)
}

fn locked(nonce: u32, tags: &str) -> String {
    lock(nonce, &our_key(), tags)
}

fn token_of(unit: CurrencyUnit, proofs: Proofs) -> ParsedToken {
    let text = Token::new(MINT.parse().unwrap(), proofs, None, unit).to_string();
    token::parse(&text, 100_000).unwrap()
}

fn run(mints: &[MintInfo], price: u64, token: &ParsedToken) -> OfflineVerdict {
    let policy = Policy {
        mints,
        lock_key: &our_key(),
        price: Sat::new(price),
        now: NOW,
        redeem_window_secs: WINDOW,
    };
    check(token, &policy)
}

#[track_caller]
fn accepts(signer: &Signer, price: u64, proofs: Proofs) -> OfflineProofs {
    match run(
        &[signer.mint()],
        price,
        &token_of(CurrencyUnit::Sat, proofs),
    ) {
        OfflineVerdict::Accept(proofs) => proofs,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn swaps(signer: &Signer, proofs: Proofs, expected: SwapReason) {
    match run(&[signer.mint()], 1, &token_of(CurrencyUnit::Sat, proofs)) {
        OfflineVerdict::NeedsSwap(reason) => assert_eq!(reason, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[track_caller]
fn refuses(signer: &Signer, proofs: Proofs, expected: RefuseReason) {
    match run(&[signer.mint()], 1, &token_of(CurrencyUnit::Sat, proofs)) {
        OfflineVerdict::Refuse(reason) => assert_eq!(reason, expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[test]
fn a_locked_token_is_accepted_without_the_mint() {
    let signer = signer(1, 100, None);
    let refund = key(9).public_key();
    let lasting =
        format!(r#"["locktime","{SAFE}"],["refund","{refund}"],["sigflag","SIG_INPUTS"]"#);
    let proofs = vec![
        signer.proof(16, &locked(1, "")),
        signer.proof(4, &locked(2, &lasting)),
        signer.proof(
            2,
            &locked(3, r#"["n_sigs","1"],["min_locktime_secs","60"]"#),
        ),
    ];
    let ys: Vec<_> = proofs.iter().map(|p| p.y().unwrap().to_bytes()).collect();

    let accepted = accepts(&signer, 21, proofs);

    assert_eq!(accepted.mint, format!("{MINT}/"));
    assert_eq!((accepted.amount, accepted.fee), (Sat::new(22), Sat::new(1)));
    assert_eq!(accepted.redeem_by, Some(SAFE));
    assert_eq!(accepted.ys, ys);
    assert_eq!(accepted.proofs[0].keyset_id, signer.info.id);
    assert!(!format!("{accepted:?}").contains("P2PK"));
}

#[test]
fn a_past_locktime_without_refund_key_is_open_to_anyone() {
    let signer = signer(1, 0, None);
    let past = format!(r#"["locktime","{}"]"#, NOW - 1);
    swaps(
        &signer,
        vec![signer.proof(1, &locked(1, &past))],
        SwapReason::LocktimeTooNear,
    );
}

#[test]
fn a_locktime_within_the_redeem_window_is_too_near() {
    let signer = signer(1, 0, None);
    let near = format!(r#"["locktime","{}"]"#, SAFE - 1);
    let proofs = vec![
        signer.proof(1, &locked(1, "")),
        signer.proof(1, &locked(2, &near)),
    ];
    swaps(&signer, proofs, SwapReason::LocktimeTooNear);
}

#[test]
fn a_refund_path_without_locktime_is_left_to_the_mint() {
    let signer = signer(1, 0, None);
    let refund = format!(r#"["refund","{}"]"#, key(9).public_key());
    swaps(
        &signer,
        vec![signer.proof(1, &locked(1, &refund))],
        SwapReason::RefundWithoutLocktime,
    );
}

#[test]
fn an_htlc_posing_as_p2pk_is_refused() {
    let signer = signer(1, 0, None);
    let htlc = format!(
        r#"["HTLC",{{"nonce":"1","data":"{}","tags":[["pubkeys","{}"]]}}]"#,
        "ab".repeat(32),
        our_key()
    );
    refuses(&signer, vec![signer.proof(1, &htlc)], RefuseReason::NotP2pk);
    let unknown = r#"["TIMELOCK",{"nonce":"1","data":"x"}]"#;
    refuses(
        &signer,
        vec![signer.proof(1, unknown)],
        RefuseReason::NotP2pk,
    );
}

#[test]
fn sig_all_is_refused() {
    let signer = signer(1, 0, None);
    let proof = signer.proof(1, &locked(1, r#"["sigflag","SIG_ALL"]"#));
    refuses(&signer, vec![proof], RefuseReason::SigAll);
}

#[test]
fn a_second_signer_could_spend_first() {
    let signer = signer(1, 0, None);
    let extra = format!(r#"["pubkeys","{}"]"#, key(9).public_key());
    let proof = signer.proof(1, &locked(1, &extra));
    swaps(&signer, vec![proof], SwapReason::ExtraKeys);
}

#[test]
fn several_signatures_are_refused() {
    let signer = signer(1, 0, None);
    let two = format!(r#"["pubkeys","{}"],["n_sigs","2"]"#, key(9).public_key());
    let proof = signer.proof(1, &locked(1, &two));
    refuses(&signer, vec![proof], RefuseReason::SeveralSignatures);
}

#[test]
fn duplicate_tags_are_refused() {
    let signer = signer(1, 0, None);
    let twice = format!(r#"["locktime","{SAFE}"],["locktime","1"]"#);
    let proof = signer.proof(1, &locked(1, &twice));
    refuses(&signer, vec![proof], RefuseReason::DuplicateTag);
}

#[test]
fn a_lock_that_reads_in_two_ways_is_refused() {
    let signer = signer(1, 0, None);
    let ours = our_key();
    for (nonce, tags) in [
        r#"["locktime","+1900000000"]"#.to_owned(),
        r#"["locktime","1_900_000_000"]"#.to_owned(),
        r#"["locktime","18446744073709551615"]"#.to_owned(),
        r#"["locktime","1900000000","1"]"#.to_owned(),
        r#"["n_sigs","0"]"#.to_owned(),
        r#"["n_sigs_refund","1"]"#.to_owned(),
        r#"["sigflag","SIG_NONE"]"#.to_owned(),
        r#"["pubkeys","nonsense"]"#.to_owned(),
        format!(r#"["pubkeys","{ours}"]"#),
        "[]".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let nonce = u32::try_from(nonce).unwrap();
        let proof = signer.proof(1, &locked(nonce, tags));
        refuses(&signer, vec![proof], RefuseReason::BadLock);
    }
    let other = key(9).public_key();
    for secret in [
        format!(r#"["P2PK",{{"nonce":"1","data":"{ours}","data":"{other}"}}]"#),
        format!(r#"["P2PK",{{"nonce":"1","data":"{ours}","owner":"x"}}]"#),
        format!(r#"["P2PK",{{"nonce":"1","data":"{ours}"}},1]"#),
        r#"["P2PK",{"nonce":"1"}]"#.to_owned(),
        r#"["P2PK""#.to_owned(),
    ] {
        refuses(
            &signer,
            vec![signer.proof(1, &secret)],
            RefuseReason::BadLock,
        );
    }
}

#[test]
fn an_unknown_tag_is_left_to_the_mint() {
    let signer = signer(1, 0, None);
    let proof = signer.proof(1, &locked(1, r#"["spend_path","x"]"#));
    swaps(&signer, vec![proof], SwapReason::UnknownTag);
}

#[test]
fn a_lock_to_another_key_is_refused() {
    let signer = signer(1, 0, None);
    let theirs = lock(1, &key(9).public_key(), "");
    refuses(
        &signer,
        vec![signer.proof(1, &theirs)],
        RefuseReason::LockedToAnother,
    );
    let mut blinded = signer.proof(1, &locked(2, ""));
    blinded.p2pk_e = Some(key(9).public_key());
    refuses(&signer, vec![blinded], RefuseReason::LockedToAnother);
}

#[test]
fn one_foreign_lock_outweighs_the_rest() {
    let signer = signer(1, 0, None);
    let proofs = vec![
        signer.proof(1, "plain"),
        signer.proof(1, &lock(1, &key(9).public_key(), "")),
    ];
    refuses(&signer, proofs, RefuseReason::LockedToAnother);
}

#[test]
fn a_plain_token_is_swapped_first() {
    let signer = signer(1, 0, None);
    let proofs = vec![
        signer.proof(2, &locked(1, "")),
        signer.proof(1, "407915bc212be61a77e3e6d2aeb4c727"),
    ];
    swaps(&signer, proofs, SwapReason::Unlocked);
}

#[test]
fn missing_and_forged_signature_proofs_are_told_apart() {
    let signer = signer(1, 0, None);
    let mut missing = signer.proof(1, &locked(1, ""));
    missing.dleq = None;
    swaps(&signer, vec![missing], SwapReason::DleqMissing);

    // Valid for 1 sat, claimed for 32: the signature of another amount's key.
    let mut inflated = signer.proof(1, &locked(2, ""));
    inflated.amount = Amount::from(32);
    refuses(&signer, vec![inflated], RefuseReason::DleqForged);

    let mut forged = signer.proof(1, &locked(3, ""));
    forged.c = key(5).public_key();
    refuses(&signer, vec![forged], RefuseReason::DleqForged);

    let mut moved = signer.proof(1, &locked(4, ""));
    moved.secret = Secret::new(locked(5, ""));
    refuses(&signer, vec![moved], RefuseReason::DleqForged);

    let mut amount = signer.proof(1, &locked(6, ""));
    amount.amount = Amount::from(3);
    refuses(&signer, vec![amount], RefuseReason::UnknownAmount);
}

#[test]
fn a_mint_that_does_not_enforce_locks_is_asked() {
    let signer = signer(1, 0, None);
    let mint = MintInfo {
        enforces_p2pk: false,
        ..signer.mint()
    };
    let token = token_of(CurrencyUnit::Sat, vec![signer.proof(1, &locked(1, ""))]);
    assert!(matches!(
        run(&[mint], 1, &token),
        OfflineVerdict::NeedsSwap(SwapReason::LocksNotEnforced)
    ));
}

#[test]
fn keysets_near_their_end_are_swapped_and_ended_ones_refused() {
    let lasting = signer(1, 0, Some(SAFE));
    accepts(&lasting, 1, vec![lasting.proof(1, &locked(1, ""))]);
    let ending = signer(1, 0, Some(SAFE - 1));
    swaps(
        &ending,
        vec![ending.proof(1, &locked(1, ""))],
        SwapReason::KeysetExpiring,
    );
    let ended = signer(1, 0, Some(NOW));
    refuses(
        &ended,
        vec![ended.proof(1, &locked(1, ""))],
        RefuseReason::KeysetExpired,
    );
}

#[test]
fn an_unknown_keyset_is_left_to_the_mint() {
    let (known, unknown) = (signer(1, 0, None), signer(20, 0, None));
    swaps(
        &known,
        vec![unknown.proof(1, &locked(1, ""))],
        SwapReason::UnknownKeyset,
    );
}

#[test]
fn a_short_id_that_fits_two_keysets_names_neither() {
    let signer = signer(1, 0, None);
    let mut twin = signer.info.clone();
    let mut bytes = twin.id.to_bytes();
    bytes[32] ^= 1;
    twin.id = Id::from_bytes(&bytes).unwrap();
    let mut mint = signer.mint();
    mint.keysets.push(twin);
    let token = token_of(CurrencyUnit::Sat, vec![signer.proof(1, &locked(1, ""))]);

    assert!(matches!(
        run(&[mint], 1, &token),
        OfflineVerdict::NeedsSwap(SwapReason::UnknownKeyset)
    ));
}

#[test]
fn a_keyset_of_version_1_is_known_by_its_whole_id() {
    let mut signer = signer(1, 0, None);
    signer.info.id = Id::v1_from_keys(&signer.info.keys);
    accepts(&signer, 1, vec![signer.proof(1, &locked(1, ""))]);
}

#[test]
fn the_wrong_unit_is_refused_by_token_and_by_keyset() {
    let mut signer = signer(1, 0, None);
    let proof = signer.proof(1, &locked(1, ""));
    let token = token_of(CurrencyUnit::Usd, vec![proof.clone()]);
    assert!(matches!(
        run(&[signer.mint()], 1, &token),
        OfflineVerdict::Refuse(RefuseReason::WrongUnit)
    ));
    // The token claims sat, but the keyset is worth millisatoshi.
    signer.info.unit = CurrencyUnit::Msat;
    refuses(&signer, vec![proof], RefuseReason::WrongUnit);
}

#[test]
fn a_foreign_mint_is_refused() {
    let signer = signer(1, 0, None);
    let token = token_of(CurrencyUnit::Sat, vec![signer.proof(1, &locked(1, ""))]);
    let elsewhere = MintInfo {
        url: "https://mint.example.org".to_owned(),
        ..signer.mint()
    };
    for mints in [vec![elsewhere], vec![]] {
        assert!(matches!(
            run(&mints, 1, &token),
            OfflineVerdict::Refuse(RefuseReason::ForeignMint)
        ));
    }
    assert!(is_same_mint("HTTPS://Mint.Example/", MINT));
    assert!(!is_same_mint("https://mint.example/a", MINT));
}

#[test]
fn too_little_after_the_fee_is_refused() {
    let signer = signer(1, 500, None);
    let proofs = || {
        vec![
            signer.proof(8, &locked(1, "")),
            signer.proof(2, &locked(2, "")),
            signer.proof(1, &locked(3, "")),
        ]
    };
    // 11 in three proofs at 500 ppk: the fee is 2.
    assert_eq!(accepts(&signer, 9, proofs()).fee, Sat::new(2));
    let token = token_of(CurrencyUnit::Sat, proofs());
    for (price, net) in [(10, 9), (12, 11)] {
        match run(&[signer.mint()], price, &token) {
            OfflineVerdict::Refuse(RefuseReason::TooLittle { net: found, .. }) => {
                assert_eq!(found, Sat::new(net));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn too_many_proofs_are_swapped() {
    let signer = signer(1, 0, None);
    let proof = signer.proof(1, &locked(0, ""));
    let many = (0..=u32::try_from(MAX_OFFLINE_PROOFS).unwrap())
        .map(|nonce| Proof {
            secret: Secret::new(locked(nonce, "")),
            ..proof.clone()
        })
        .collect();
    swaps(&signer, many, SwapReason::TooManyProofs);
}

#[test]
fn every_refusal_has_a_sentence_and_a_code() {
    let reason = RefuseReason::TooLittle {
        net: Sat::new(9),
        price: Sat::new(10),
    };
    assert_eq!(reason.code(), "amount_too_low");
    assert_eq!(
        reason.to_string(),
        "the token leaves 9 sat after the mint's fee, 10 sat are asked"
    );
}
