//! The search over the catalog; `offers` writes it.
//!
//! A text match ranks only its newest [`MAX_RANKED`] rows: bm25 scores every row
//! it is given, which takes more than a second for a common word in a million.

use feria_paywall::amount::Msat;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use url::Url;

use super::rows::{CatalogRow, Search};
use super::{alike, sql_time};
use crate::store::StoreError;

/// How many of the newest matches of a text are ranked.
const MAX_RANKED: u32 = 2_000;
/// Words of a search text that are used.
const MAX_WORDS: usize = 16;
/// Longer words are cut.
const MAX_WORD_CHARS: usize = 40;
/// From this length on a word also matches as the beginning of a longer one.
const MIN_PREFIX_CHARS: usize = 2;
/// Path prefixes tried when looking for the listing of a URL.
const MAX_PREFIXES: usize = 32;
/// Rows returned by look-ups that take no limit.
const MAX_ROWS: u32 = 500;

/// Live, and not a projection whose original is here too. An event may hold both:
/// it does not hide itself.
pub(super) const IS_SHOWN: &str = "(o.expires_at IS NULL OR o.expires_at > :now)
    AND (o.is_canonical OR NOT EXISTS (
        SELECT 1 FROM offers c WHERE c.coordinate = o.coordinate AND c.is_canonical = 1
        AND c.event_rid <> o.event_rid
        AND (c.expires_at IS NULL OR c.expires_at > :now)))";

/// Returns the rows that match `search`.
pub(super) fn search(
    connection: &Connection,
    search: &Search,
    now: u64,
) -> Result<Vec<CatalogRow>, StoreError> {
    let has_text = !search.text.trim().is_empty();
    let words = match_expression(&search.text);
    if has_text && words.is_none() {
        return Ok(Vec::new());
    }
    // The text comes first: the join below must never drive the full-text table.
    let source = if has_text {
        "(SELECT rowid AS oid, bm25(offers_fts, 8.0, 2.0, 4.0, 3.0) AS score FROM offers_fts
          WHERE offers_fts MATCH :words ORDER BY rowid DESC LIMIT :ranked) m
         CROSS JOIN offers o ON o.oid = m.oid"
    } else {
        "offers o"
    };
    let order = if has_text {
        "m.score, o.created_at DESC, o.oid DESC"
    } else {
        "o.created_at DESC, o.oid DESC"
    };
    // In its own words, so that the index of the interface can drive the statement.
    let interface = match search.schema_hash {
        Some(_) => "o.schema_hash = :schema_hash",
        None => ":schema_hash IS NULL",
    };
    let sql = format!(
        "SELECT o.oid, o.event_rid FROM {source} WHERE {IS_SHOWN}
         AND (:rail IS NULL OR instr(o.rails, :rail) > 0)
         AND (:max_price IS NULL OR o.price_msat <= :max_price)
         AND {interface}
         ORDER BY {order} LIMIT :limit OFFSET :offset"
    );
    let rail = search
        .rail
        .as_ref()
        .map(|rail| format!(" {} ", rail.trim()));
    let max_price = search.max_price.map(Msat::as_i64);
    let (limit, offset) = (sql_count(search.limit), sql_count(search.offset));
    let at = sql_time(now);
    let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
        (":now", &at),
        (":rail", &rail),
        (":max_price", &max_price),
        (":schema_hash", &search.schema_hash),
        (":limit", &limit),
        (":offset", &offset),
    ];
    if has_text {
        parameters.push((":words", &words));
        parameters.push((":ranked", &MAX_RANKED));
    }
    let found = connection
        .prepare_cached(&sql)?
        .query_map(parameters.as_slice(), place)?
        .collect::<Result<Vec<_>, _>>()?;
    read_rows(connection, found, now)
}

/// Returns the events whose offers match `text`, the newest [`MAX_RANKED`] of them.
pub(super) fn matching_events(connection: &Connection, text: &str) -> Result<Vec<i64>, StoreError> {
    let Some(words) = match_expression(text) else {
        return Ok(Vec::new());
    };
    Ok(connection
        .prepare_cached(
            "SELECT DISTINCT o.event_rid FROM
             (SELECT rowid AS oid FROM offers_fts WHERE offers_fts MATCH ?1
              ORDER BY rowid DESC LIMIT ?2) m
             CROSS JOIN offers o ON o.oid = m.oid",
        )?
        .query_map(params![words, MAX_RANKED], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Returns the rows at `url`, or at the longest path prefix of it that anybody lists.
pub(super) fn list_offers_at(
    connection: &Connection,
    url: &str,
    now: u64,
) -> Result<Vec<CatalogRow>, StoreError> {
    let prefixes = endpoint_prefixes(url);
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    // ?1 is the time, so the unnumbered marks count on from 2.
    let sql = format!(
        "SELECT o.oid, o.event_rid, o.endpoint FROM offers o
         WHERE {} AND o.endpoint IN ({})
         ORDER BY length(o.endpoint) DESC, o.created_at DESC, o.oid DESC LIMIT {MAX_ROWS}",
        IS_SHOWN.replace(":now", "?1"),
        vec!["?"; prefixes.len()].join(","),
    );
    let parameters =
        std::iter::once(Value::Integer(sql_time(now))).chain(prefixes.into_iter().map(Value::Text));
    let found = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(parameters), |row| {
            Ok((place(row)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let longest = found.first().map_or(0, |(_, endpoint)| endpoint.len());
    let places = found
        .into_iter()
        .take_while(|(_, endpoint)| endpoint.len() == longest)
        .map(|(place, _)| place)
        .collect();
    read_rows(connection, places, now)
}

/// Returns the rows of the listing at `coordinate`.
pub(super) fn find_listing(
    connection: &Connection,
    coordinate: &str,
    now: u64,
) -> Result<Vec<CatalogRow>, StoreError> {
    let sql = format!(
        "SELECT o.oid, o.event_rid FROM offers o WHERE o.coordinate = :coordinate AND {IS_SHOWN}
         ORDER BY o.oid LIMIT {MAX_ROWS}"
    );
    let found = connection
        .prepare_cached(&sql)?
        .query_map(
            rusqlite::named_params! { ":coordinate": coordinate, ":now": sql_time(now) },
            place,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    read_rows(connection, found, now)
}

/// Counts the live listings.
pub(super) fn count_listings(connection: &Connection, now: u64) -> Result<u64, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT count(DISTINCT coordinate) FROM offers
             WHERE expires_at IS NULL OR expires_at > ?1",
        )?
        .query_row([sql_time(now)], |row| row.get(0))?)
}

/// Returns where a row is: its `oid`, and the `rid` of its event.
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Returns the rows at `places`, with what is known about them beside their events.
pub(super) fn read_rows(
    connection: &Connection,
    places: Vec<(i64, i64)>,
    now: u64,
) -> Result<Vec<CatalogRow>, StoreError> {
    let mut rows = connection.prepare_cached("SELECT json FROM offer_rows WHERE oid = ?1")?;
    let mut relays =
        connection.prepare_cached("SELECT relay FROM sightings WHERE rid = ?1 ORDER BY relay")?;
    places
        .into_iter()
        .map(|(oid, rid)| {
            let json: String = rows.query_row([oid], |row| row.get(0))?;
            let mut row: CatalogRow =
                serde_json::from_str(&json).map_err(|error| corrupt_row(&error))?;
            row.relays = relays
                .query_map([rid], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            alike::fill_in(connection, &mut row, now)?;
            Ok(row)
        })
        .collect()
}

pub(super) fn corrupt_row(error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        table: "offer_rows",
        column: "json",
        reason: error.to_string(),
    }
}

/// Returns `text` as an FTS5 expression in which every word is quoted, so that
/// none of it is syntax. `None` when it has no letter or digit.
fn match_expression(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS)
        .map(|word| {
            let word: String = word.chars().take(MAX_WORD_CHARS).collect();
            let star = if word.chars().count() >= MIN_PREFIX_CHARS {
                "*"
            } else {
                ""
            };
            format!("\"{word}\"{star}")
        })
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Returns `url` without query, fragment and trailing slash. `None` when it is not one.
pub(super) fn endpoint_key(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok().filter(Url::has_host)?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// Returns the keys of `url` and of what lies above its path, longest first.
fn endpoint_prefixes(url: &str) -> Vec<String> {
    let Some(key) = endpoint_key(url) else {
        return Vec::new();
    };
    let host_at = key.find("://").map_or(0, |at| at + 3);
    let path_at = key[host_at..]
        .find('/')
        .map_or(key.len(), |at| host_at + at);
    let mut cuts: Vec<usize> = key[path_at..]
        .match_indices('/')
        .map(|(at, _)| path_at + at)
        .chain([key.len()])
        .collect();
    cuts.reverse();
    cuts.truncate(MAX_PREFIXES);
    cuts.iter().map(|cut| key[..*cut].to_owned()).collect()
}

fn sql_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
