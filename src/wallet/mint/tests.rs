//! URLs and keysets of mints that may not be used.

use super::*;

#[track_caller]
fn check(text: &str, expected: Option<&str>) {
    assert_eq!(normalize(text).as_deref(), expected);
}

#[test]
fn a_mint_url_has_one_form() {
    check(
        "https://Mint.example.com/",
        Some("https://mint.example.com"),
    );
    check(
        "https://mint.example.com:443/a//",
        Some("https://mint.example.com/a"),
    );
    check("http://127.0.0.1:3338/", Some("http://127.0.0.1:3338"));
    check("http://localhost:1", Some("http://localhost:1"));
}

#[test]
fn a_keyset_whose_id_is_not_that_of_its_keys_is_not_used() {
    let key = cdk::nuts::SecretKey::from_slice(&[1; 32]).unwrap();
    let keys = cdk::nuts::Keys::new([(1.into(), key.public_key())].into());
    let info = |id| KeySetInfo {
        id,
        unit: CurrencyUnit::Sat,
        active: true,
        input_fee_ppk: 100,
        final_expiry: None,
    };
    let id = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 100, None);
    let cheaper = Id::v2_from_data(&keys, &CurrencyUnit::Sat, 0, None);

    assert!(verified(info(id), keys.clone()).is_some());
    assert!(verified(info(Id::v1_from_keys(&keys)), keys.clone()).is_some());
    assert!(verified(info(cheaper), keys).is_none());
}

#[test]
fn a_mint_url_that_may_not_be_used_is_refused() {
    check("http://mint.example.com", None);
    check("http://10.0.0.1", None);
    check("ftp://localhost", None);
    check("https://user:pass@mint.example.com", None);
    check("https://mint.example.com/?a=b", None);
    check("mint", None);
}
