//! Values as pages show them.

use feria_paywall::amount::Msat;

use crate::store::index::CatalogRow;

/// A listing in a table or on a card.
pub(crate) struct ListingView {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) capability: String,
    pub(crate) price: String,
    pub(crate) rails: String,
    pub(crate) seller: String,
    pub(crate) coordinate: String,
    pub(crate) endpoint: String,
    /// What buys a call, safe to paste into a shell.
    pub(crate) command: String,
    pub(crate) method: String,
    pub(crate) dialect: String,
    pub(crate) mints: Vec<String>,
    pub(crate) relays: Vec<String>,
    pub(crate) age: String,
}

impl ListingView {
    pub(crate) fn new(row: CatalogRow, now: u64) -> Self {
        Self {
            name: row.name,
            summary: row.summary,
            capability: row.capability,
            price: row
                .price_msat
                .map_or_else(|| "ask".to_owned(), |msat| Msat::new(msat).to_string()),
            rails: rails(&row.rails),
            seller: short(&row.seller),
            coordinate: row.coordinate,
            command: row
                .endpoint
                .as_deref()
                .map_or_else(String::new, |endpoint| {
                    fetch_command(&row.method, row.price_msat, endpoint)
                }),
            endpoint: row.endpoint.unwrap_or_default(),
            method: row.method,
            dialect: row.dialect,
            mints: row.mints,
            relays: row.relays,
            age: age(row.published_at, now),
        }
    }
}

/// Returns the command that buys a call. A seller chooses the endpoint and a
/// reader pastes the command: whatever a shell would act on stays within quotes.
fn fetch_command(method: &str, price_msat: Option<u64>, endpoint: &str) -> String {
    let cap = price_msat.map_or_else(String::new, |msat| {
        let cap = Msat::new(msat).to_string().replace(' ', "");
        format!(" --max-cost {cap}")
    });
    let quoted = endpoint.replace('\'', "%27");
    format!("feria fetch -X {method}{cap} '{quoted}'")
}

/// Names payment rails for people.
pub(crate) fn rails(rails: &[String]) -> String {
    let names: Vec<&str> = rails
        .iter()
        .map(|rail| match rail.as_str() {
            "l402" => "Lightning",
            "nut24" | "cashu" => "ecash",
            other => other,
        })
        .collect();
    names.join(", ")
}

/// Shortens a long identifier to its ends.
pub(crate) fn short(id: &str) -> String {
    let letters: Vec<char> = id.chars().collect();
    if letters.len() <= 20 {
        return id.to_owned();
    }
    let head: String = letters[..10].iter().collect();
    let tail: String = letters[letters.len() - 6..].iter().collect();
    format!("{head}…{tail}")
}

/// Says how long ago `then` was.
pub(crate) fn age(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Says how long it is until `then`.
pub(crate) fn remaining(then: u64, now: u64) -> String {
    let seconds = then.saturating_sub(now);
    match seconds {
        0 => "over".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped() {
        assert_eq!(sats(1_234_567_000), "1,234,567 sat");
        assert_eq!(sats(-1_500), "−1.500 sat");
        assert_eq!(sats(0), "0 sat");
    }

    #[test]
    fn an_endpoint_does_nothing_in_a_shell() {
        assert_eq!(
            fetch_command("GET", Some(21_000), "https://a.example/x;$(id)'|sh"),
            "feria fetch -X GET --max-cost 21sat 'https://a.example/x;$(id)%27|sh'"
        );
        assert_eq!(
            fetch_command("GET", None, "https://a.example/"),
            "feria fetch -X GET 'https://a.example/'"
        );
    }

    #[test]
    fn long_identifiers_keep_their_ends() {
        assert_eq!(short(&"a".repeat(64)).chars().count(), 17);
        assert_eq!(short("data"), "data");
    }
}
