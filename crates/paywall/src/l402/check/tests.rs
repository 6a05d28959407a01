//! What a verified credential is worth, caveat by caveat.

use super::*;
use crate::l402::{Caveat, Identifier};

const NOW: u64 = 1_800_000_000;

fn preimage() -> Preimage {
    Preimage::new([5; 32])
}

fn macaroon(caveats: &[&str]) -> VerifiedMacaroon {
    VerifiedMacaroon {
        identifier: Identifier {
            payment_hash: preimage().payment_hash(),
            token_id: [6; 32],
        },
        caveats: caveats
            .iter()
            .map(|text| Caveat::parse(text.as_bytes()).unwrap())
            .collect(),
        names: (0..caveats.len()).map(name).collect(),
    }
}

/// The name of the macaroon after its caveat number `index`.
fn name(index: usize) -> [u8; 32] {
    [100 + index as u8; 32]
}

fn accepted(uses: u64) -> Verdict {
    limited(&[(LimitUnit::Uses, uses, None)])
}

/// Limits as unit, maximum and the caveat they are counted under; `None` for the payment.
fn limited(limits: &[(LimitUnit, u64, Option<usize>)]) -> Verdict {
    Verdict::Accepted {
        limits: limits
            .iter()
            .map(|(unit, max, caveat)| Limit {
                key: caveat.map_or(*preimage().payment_hash().as_bytes(), name),
                unit: *unit,
                max: *max,
            })
            .collect(),
        price: None,
        payment_hash: preimage().payment_hash(),
        token_id: [6; 32],
    }
}

#[track_caller]
fn expect(caveats: &[&str], path: &str, expected: &Verdict) {
    let call = CallContext {
        service: "weather",
        capability: "read",
        path,
        now: NOW,
    };
    assert_eq!(
        &check(&macaroon(caveats), &preimage(), &call),
        expected,
        "{caveats:?} {path}"
    );
}

#[test]
fn the_price_is_the_one_of_the_challenge() {
    let bought = ["services=weather:0", "uses=1", "price_msat=1500"];
    let mut priced = accepted(1);
    if let Verdict::Accepted { price, .. } = &mut priced {
        *price = Some(Msat::new(1_500));
    }
    let malformed = Verdict::MalformedCaveat("price_msat".to_owned());

    expect(&bought, "/", &priced);
    expect(&[&bought[..], &["price_msat=1500"]].concat(), "/", &priced);
    expect(&[&bought[..], &["price_msat=1"]].concat(), "/", &malformed);
    expect(&["services=weather:0", "price_msat=-1"], "/", &malformed);
}

#[test]
fn what_was_bought_is_accepted() {
    let all = [
        "services=weather:0",
        "weather_capabilities=read,write",
        "weather_valid_until=1800000000",
        "uses=10",
        "path_prefix=/v1",
    ];
    expect(&all, "/v1/today?x=1", &accepted(10));
    expect(&all, "/v1", &accepted(10));
    expect(&["services=other:0,weather:0"], "/", &accepted(1));
}

#[test]
fn the_narrowest_value_counts() {
    expect(
        &[
            "services=weather:0",
            "weather_valid_until=1900000000",
            "weather_valid_until=1799999999",
            "weather_valid_until=1900000000",
        ],
        "/",
        &Verdict::Expired {
            valid_until: 1_799_999_999,
        },
    );
    expect(
        &["services=weather:0", "path_prefix=/v1", "path_prefix=/v2"],
        "/v1",
        &Verdict::WrongPath,
    );
}

#[test]
fn only_its_issuer_makes_a_credential_unlimited() {
    let malformed = Verdict::MalformedCaveat("uses".to_owned());

    expect(
        &["services=weather:0", "uses=unlimited"],
        "/",
        &limited(&[]),
    );
    expect(
        &["services=weather:0", "uses=unlimited", "uses=3"],
        "/",
        &limited(&[(LimitUnit::Uses, 3, Some(2))]),
    );
    for bought in ["uses=1", "uses=unlimited", "balance_msat=5"] {
        let widened = ["services=weather:0", bought, "uses=unlimited"];
        expect(&widened, "/", &malformed);
    }
}

#[test]
fn what_a_holder_adds_is_counted_apart_from_what_was_bought() {
    use LimitUnit::{Msat, Uses};

    let nested = [
        "services=weather:0",
        "uses=10",
        "note=bob",
        "uses=2",
        "sats=3",
    ];
    expect(
        &nested,
        "/",
        &limited(&[(Uses, 10, None), (Uses, 2, Some(3)), (Msat, 3_000, Some(4))]),
    );
    let metered = ["services=weather:0", "balance_msat=500", "uses=2"];
    expect(
        &metered,
        "/",
        &limited(&[(Msat, 500, None), (Uses, 2, Some(2))]),
    );
}

#[test]
fn anything_outside_is_refused() {
    let service = "services=weather:0";
    expect(&[], "/", &Verdict::WrongService);
    expect(&["services=weathers:0"], "/", &Verdict::WrongService);
    expect(&[service, "services=a:0"], "/", &Verdict::WrongService);
    expect(
        &[service, "weather_capabilities=write"],
        "/",
        &Verdict::WrongCapability,
    );
    for path in ["/v10", "/v1/../admin", "/v1/%2e%2e/admin", "/v1/%2Fx", "/"] {
        expect(&[service, "path_prefix=/v1"], path, &Verdict::WrongPath);
    }
    expect(
        &[service, "ip=10.0.0.1"],
        "/",
        &Verdict::UnknownCaveat("ip".to_owned()),
    );
    expect(
        &[service, "other_valid_until=1900000000"],
        "/",
        &Verdict::UnknownCaveat("other_valid_until".to_owned()),
    );
    for bad in ["uses=+3", "uses=", "uses=4294967296", "uses=1 "] {
        expect(
            &[service, bad],
            "/",
            &Verdict::MalformedCaveat("uses".to_owned()),
        );
    }
}

#[test]
fn the_preimage_of_another_payment_is_refused() {
    let call = CallContext {
        service: "weather",
        capability: "",
        path: "/",
        now: NOW,
    };
    let verdict = check(
        &macaroon(&["services=weather:0"]),
        &Preimage::new([4; 32]),
        &call,
    );
    assert_eq!(verdict, Verdict::WrongPreimage);
}
