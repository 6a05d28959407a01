//! Values as pages show them.

use feria_paywall::amount::Msat;

use crate::protocol::dialect;
use crate::store::index::{Alike, CatalogRow};

/// A listing in a table or on its page.
pub(crate) struct ListingView {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) capability: String,
    pub(crate) price: String,
    pub(crate) rails: Vec<RailMark>,
    pub(crate) seller: String,
    pub(crate) seller_short: String,
    pub(crate) coordinate: String,
    pub(crate) endpoint: String,
    pub(crate) method: String,
    pub(crate) dialect: String,
    pub(crate) dialect_name: &'static str,
    /// Where the listing says its price; empty when it names none.
    pub(crate) price_source: String,
    /// Why the price could not be understood, or what speaks against it.
    pub(crate) price_note: String,
    /// Identity of the interface, shortened; empty when the listing describes none.
    pub(crate) interface: String,
    pub(crate) interface_note: String,
    /// How long ago it became another under the same name; empty when it did not.
    pub(crate) interface_change: String,
    /// Other listings of the address and of the interface, in words.
    pub(crate) alike: Vec<String>,
    pub(crate) mints: Vec<String>,
    pub(crate) relays: Vec<String>,
    pub(crate) signed: Moment,
    pub(crate) curl: String,
    pub(crate) fetch: String,
}

impl ListingView {
    pub(crate) fn new(row: CatalogRow, now: u64) -> Self {
        let endpoint = row.endpoint.clone().unwrap_or_default();
        let max_cost = row.price_msat.map(Msat::new);
        Self {
            price: price(&row),
            alike: alike(&row),
            dialect_name: dialect_name(&row.dialect),
            price_source: row.price_source,
            price_note: row.price_note.unwrap_or_default(),
            interface: row.schema_hash.as_deref().map(short).unwrap_or_default(),
            interface_note: row.schema_note.unwrap_or_default(),
            interface_change: row
                .schema_changed_at
                .map(|then| age(then, now))
                .unwrap_or_default(),
            rails: rail_marks(&row.rails),
            seller_short: short(&row.seller),
            signed: Moment::before(row.published_at, now),
            curl: curl(&row.method, &endpoint),
            fetch: fetch(&row.method, &endpoint, max_cost),
            name: row.name,
            summary: row.summary,
            capability: row.capability,
            seller: row.seller,
            coordinate: row.coordinate,
            endpoint,
            method: row.method,
            dialect: row.dialect,
            mints: row.mints,
            relays: row.relays,
        }
    }
}

/// Writes the price of an offer.
fn price(row: &CatalogRow) -> String {
    match (row.price_msat, &row.price_fiat) {
        (Some(msat), _) => Msat::new(msat).to_string(),
        (None, Some(fiat)) => format!("{fiat}, not in bitcoin"),
        (None, None) if row.price_text.is_empty() => "not said".to_owned(),
        // In its own words, and marked as such: it is no price we could pay.
        (None, None) => format!("says “{}”", row.price_text),
    }
}

/// Returns what the kind of a listing is called.
fn dialect_name(kind: &str) -> &'static str {
    let name = kind.parse().ok().and_then(dialect::name);
    name.unwrap_or("listing")
}

/// Says how many other listings there are of the address and of the interface of
/// an offer, and what they ask.
fn alike(row: &CatalogRow) -> Vec<String> {
    let mut lines = Vec::new();
    let others = &row.same_endpoint;
    if !others.is_none() {
        let listings = plural(
            others.listings,
            "other listing names",
            "other listings name",
        );
        let verdict = if others.disagrees(row.price_msat) {
            ", and the prices disagree"
        } else {
            ""
        };
        lines.push(format!("{listings} this address{}{verdict}", asked(others)));
    }
    let others = &row.same_interface;
    if !others.is_none() {
        let listings = plural(others.listings, "other listing has", "other listings have");
        lines.push(format!("{listings} this interface{}", asked(others)));
    }
    lines
}

fn plural(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Says what other listings ask, as far as they say it.
fn asked(others: &Alike) -> String {
    let price = |msat: u64| Msat::new(msat).to_string();
    match (others.min_price_msat, others.max_price_msat) {
        (Some(low), Some(high)) if low == high => format!(", for {}", price(low)),
        (Some(low), Some(high)) => format!(", for {} to {}", price(low), price(high)),
        _ => String::new(),
    }
}

/// A moment: how far away in words, and exactly.
pub(crate) struct Moment {
    /// Such as `3 min ago`.
    pub(crate) words: String,
    /// UTC, as RFC 3339 writes it.
    pub(crate) exact: String,
}

impl Moment {
    /// Returns a moment in the past.
    pub(crate) fn before(then: u64, now: u64) -> Self {
        Self {
            words: age(then, now),
            exact: exact(then),
        }
    }

    /// Returns a moment to come.
    pub(crate) fn after(then: u64, now: u64) -> Self {
        Self {
            words: remaining(then, now),
            exact: exact(then),
        }
    }
}

/// Writes Unix seconds as RFC 3339 has it, in UTC.
///
/// The days are counted in eras of 400 years that begin in March, so that the
/// leap day is the last of a year: <https://howardhinnant.github.io/date_algorithms.html>
fn exact(at: u64) -> String {
    let (days, seconds) = (at / 86_400 + 719_468, at % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A payment rail: its word, and the class that gives it a colour and a shape.
pub(crate) struct RailMark {
    pub(crate) word: String,
    pub(crate) class: &'static str,
}

/// Names payment rails for people.
pub(crate) fn rail_marks(rails: &[String]) -> Vec<RailMark> {
    rails.iter().map(|rail| rail_mark(rail)).collect()
}

/// Names one payment rail, as listings, purchases and paid calls write it.
pub(crate) fn rail_mark(rail: &str) -> RailMark {
    let (word, class) = match rail {
        "l402" | "mpp" | "lightning" => ("Lightning", "bolt"),
        "l402-cached" => ("Lightning, paid before", "bolt"),
        "nut24" | "cashu" => ("ecash", "coin"),
        "nut24-offline" => ("ecash, locked to the seller", "coin"),
        "nut24-swap" => ("ecash, swapped at the mint", "coin"),
        "" => ("not paid", "none"),
        other => (other, "none"),
    };
    RailMark {
        word: word.to_owned(),
        class,
    }
}

/// Returns the command that asks an endpoint what it costs.
pub(crate) fn curl(method: &str, url: &str) -> String {
    match method {
        "GET" | "" => format!("curl -i {}", shell_word(url)),
        method => format!("curl -i -X {} {}", shell_word(method), shell_word(url)),
    }
}

/// Returns the command that buys one call and pays no more than `max_cost`.
pub(crate) fn fetch(method: &str, url: &str, max_cost: Option<Msat>) -> String {
    let limit = max_cost.map_or_else(|| "50sat".to_owned(), |cost| cost.to_string());
    let method = match method {
        "GET" | "" => String::new(),
        method => format!("-X {} ", shell_word(method)),
    };
    format!(
        "feria fetch --wallet AGENT --max-cost {} {method}{}",
        limit.replace(' ', ""),
        shell_word(url)
    )
}

/// Quotes `text` for a shell. A listing is a stranger's text, and people paste commands.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@%+=,".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Shortens a long identifier to its ends.
pub(crate) fn short(id: &str) -> String {
    let letters: Vec<char> = id.chars().collect();
    if letters.len() <= 20 {
        return id.to_owned();
    }
    let head: String = letters[..8].iter().collect();
    let tail: String = letters[letters.len() - 4..].iter().collect();
    format!("{head}…{tail}")
}

fn age(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn remaining(then: u64, now: u64) -> String {
    let seconds = then.saturating_sub(now);
    match seconds {
        0 => "over".to_owned(),
        1..60 => format!("in {seconds} s"),
        60..3_600 => format!("in {} min", seconds / 60),
        3_600..86_400 => format!("in {} h", seconds / 3_600),
        _ => format!("in {} d", seconds / 86_400),
    }
}

/// Says how long something took.
pub(crate) fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
    }
}

/// Prints millisatoshi as satoshi with thousands separated, the fraction only when there is one.
pub(crate) fn sats(msat: i64) -> String {
    let sign = if msat < 0 { "−" } else { "" };
    let whole = (msat.unsigned_abs() / 1_000).to_string();
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match msat.unsigned_abs() % 1_000 {
        0 => format!("{sign}{grouped} sat"),
        rest => format!("{sign}{grouped}.{rest:03} sat"),
    }
}

/// Prints whole satoshi the same way.
pub(crate) fn whole_sats(sat: u64) -> String {
    sats(i64::try_from(sat.saturating_mul(1_000)).unwrap_or(i64::MAX))
}

/// Prints an amount of millisatoshi that is never negative.
pub(crate) fn msats(msat: u64) -> String {
    sats(i64::try_from(msat).unwrap_or(i64::MAX))
}

/// Returns how much of `whole` `part` is, in percent, at most 100. Rounds up: a
/// little is not nothing.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    part.saturating_mul(100).div_ceil(whole).min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped() {
        assert_eq!(sats(1_234_567_000), "1,234,567 sat");
        assert_eq!(sats(-1_500), "−1.500 sat");
        assert_eq!(sats(0), "0 sat");
        assert_eq!(whole_sats(10_636), "10,636 sat");
    }

    #[test]
    fn long_identifiers_keep_their_ends() {
        assert_eq!(short(&"a".repeat(64)).chars().count(), 13);
        assert_eq!(short("data"), "data");
    }

    #[test]
    fn a_pasted_command_runs_nothing_of_the_listing() {
        let url = "http://h/$(reboot)'`x`";

        assert_eq!(curl("GET", "http://h:1/a/x/"), "curl -i http://h:1/a/x/");
        assert_eq!(curl("GET", url), r"curl -i 'http://h/$(reboot)'\''`x`'");
        assert_eq!(curl("GET", "-o/etc/x"), "curl -i '-o/etc/x'");
        assert_eq!(
            fetch("POST", "http://h/", Some(Msat::new(21_000))),
            "feria fetch --wallet AGENT --max-cost 21sat -X POST http://h/"
        );
    }

    #[test]
    fn listings_that_belong_together_are_counted_in_words() {
        let mut row = CatalogRow {
            price_msat: Some(21_000),
            ..CatalogRow::default()
        };
        assert!(alike(&row).is_empty());
        row.same_endpoint = Alike {
            listings: 1,
            min_price_msat: Some(21_000),
            max_price_msat: Some(21_000),
        };
        row.same_interface = Alike {
            listings: 3,
            min_price_msat: Some(5_000),
            max_price_msat: Some(9_000),
        };
        assert_eq!(
            alike(&row),
            [
                "1 other listing names this address, for 21 sat",
                "3 other listings have this interface, for 5 sat to 9 sat",
            ]
        );
        row.same_endpoint.max_price_msat = Some(50_000);
        assert!(alike(&row)[0].ends_with("for 21 sat to 50 sat, and the prices disagree"));
    }

    #[test]
    fn a_price_is_in_bitcoin_or_in_its_own_words() {
        let mut row = CatalogRow {
            price_text: "250 usd".to_owned(),
            ..CatalogRow::default()
        };
        assert_eq!(price(&row), "says “250 usd”");
        row.price_fiat = Some("2.50 USD".to_owned());
        assert_eq!(price(&row), "2.50 USD, not in bitcoin");
        row.price_msat = Some(21_000);
        assert_eq!(price(&row), "21 sat");
        assert_eq!(price(&CatalogRow::default()), "not said");
        assert_eq!(dialect_name("38421"), "inference provider, Routstr");
        assert_eq!(dialect_name("1"), "listing");
    }

    #[test]
    fn a_moment_is_near_and_exact() {
        let moment = Moment::before(1_700_000_000, 1_700_000_180);

        assert_eq!(moment.words, "3 min ago");
        assert_eq!(moment.exact, "2023-11-14T22:13:20Z");
        assert_eq!(exact(0), "1970-01-01T00:00:00Z");
        assert_eq!(exact(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(exact(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(Moment::after(1_700_000_000, 0).words, "in 19675 d");
        assert_eq!(Moment::after(5, 9).words, "over");
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(percent(1, 0), 0);
        assert_eq!(percent(1, 4), 25);
        assert_eq!(percent(1, 1_000), 1);
        assert_eq!(percent(9, 4), 100);
    }
}
