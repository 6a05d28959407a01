//! The catalog: rows of offers beside the raw events, and the search over them.
//!
//! A text match ranks only its newest [`MAX_RANKED`] rows: bm25 scores every row
//! it is given, which takes more than a second for a common word in a million.

use feria_paywall::amount::Msat;
use nostr::event::Event;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};
use url::Url;

use super::rows::{CatalogRow, Search};
use super::{query, sql_time};
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

/// Live, and not a projection whose original is here too.
const IS_SHOWN: &str = "(o.expires_at IS NULL OR o.expires_at > :now)
    AND (o.is_canonical OR NOT EXISTS (
        SELECT 1 FROM offers c WHERE c.coordinate = o.coordinate AND c.is_canonical = 1
        AND (c.expires_at IS NULL OR c.expires_at > :now)))";

/// Stores the rows of the event stored as `rid`.
pub(super) fn insert_rows(
    transaction: &Transaction<'_>,
    rid: i64,
    event: &Event,
    rows: &[CatalogRow],
) -> Result<(), StoreError> {
    let own_prefix = format!("{}:", event.kind.as_u16());
    for row in rows {
        let rails = format!(" {} ", row.rails.join(" "));
        let oid = transaction
            .prepare_cached(
                "INSERT INTO offers (event_rid, coordinate, is_canonical, created_at, price_msat,
                                     expires_at, rails, endpoint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .insert(params![
                rid,
                row.coordinate,
                row.coordinate.starts_with(&own_prefix),
                sql_time(event.created_at.as_secs()),
                row.price_msat.map(|price| Msat::new(price).as_i64()),
                row.expires_at.map(sql_time),
                rails,
                row.endpoint.as_deref().and_then(endpoint_key),
            ])?;
        let json = serde_json::to_string(row).map_err(|error| StoreError::Corrupt {
            table: "offer_rows",
            column: "json",
            reason: error.to_string(),
        })?;
        transaction
            .prepare_cached("INSERT INTO offer_rows (oid, json) VALUES (?1, ?2)")?
            .execute(params![oid, json])?;
        transaction
            .prepare_cached(
                "INSERT INTO offers_fts (rowid, name, summary, capability, topics)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                oid,
                row.name,
                row.summary,
                row.capability,
                row.topics.join(" ")
            ])?;
    }
    Ok(())
}

/// Removes the rows of the event stored as `rid`.
pub(super) fn remove_rows(transaction: &Transaction<'_>, rid: i64) -> Result<(), StoreError> {
    let oids = transaction
        .prepare_cached("SELECT oid FROM offers WHERE event_rid = ?1")?
        .query_map([rid], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for oid in oids {
        for statement in [
            "DELETE FROM offers_fts WHERE rowid = ?1",
            "DELETE FROM offer_rows WHERE oid = ?1",
            "DELETE FROM offers WHERE oid = ?1",
        ] {
            transaction.prepare_cached(statement)?.execute([oid])?;
        }
    }
    Ok(())
}

/// Drops all rows and reads them again from the events of `kinds`.
pub(super) fn rebuild(
    transaction: &Transaction<'_>,
    kinds: &[u16],
    project: &dyn Fn(&Event) -> Vec<CatalogRow>,
) -> Result<u64, StoreError> {
    transaction.execute_batch(
        "INSERT INTO offers_fts (offers_fts) VALUES ('delete-all');
         DELETE FROM offer_rows; DELETE FROM offers;",
    )?;
    let mut inserted = 0;
    for kind in kinds {
        let rids = transaction
            .prepare_cached("SELECT rid FROM events WHERE kind = ?1 ORDER BY rid")?
            .query_map([kind], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        for rid in rids {
            if let Some(event) = query::read_event(transaction, rid)? {
                let rows = project(&event);
                insert_rows(transaction, rid, &event, &rows)?;
                inserted += rows.len() as u64;
            }
        }
    }
    Ok(inserted)
}

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
    let sql = format!(
        "SELECT o.oid, o.event_rid FROM {source} WHERE {IS_SHOWN}
         AND (:rail IS NULL OR instr(o.rails, :rail) > 0)
         AND (:max_price IS NULL OR o.price_msat <= :max_price)
         ORDER BY {order} LIMIT :limit OFFSET :offset"
    );
    let rail = search
        .rail
        .as_ref()
        .map(|rail| format!(" {} ", rail.trim()));
    let max_price = search.max_price.map(Msat::as_i64);
    let (limit, offset) = (sql_count(search.limit), sql_count(search.offset));
    let now = sql_time(now);
    let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> = vec![
        (":now", &now),
        (":rail", &rail),
        (":max_price", &max_price),
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
    read_rows(connection, found)
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
    read_rows(connection, places)
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
    read_rows(connection, found)
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

fn place(row: &Row<'_>) -> rusqlite::Result<(i64, i64)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn read_rows(
    connection: &Connection,
    places: Vec<(i64, i64)>,
) -> Result<Vec<CatalogRow>, StoreError> {
    let mut rows = connection.prepare_cached("SELECT json FROM offer_rows WHERE oid = ?1")?;
    let mut relays =
        connection.prepare_cached("SELECT relay FROM sightings WHERE rid = ?1 ORDER BY relay")?;
    places
        .into_iter()
        .map(|(oid, rid)| {
            let json: String = rows.query_row([oid], |row| row.get(0))?;
            let mut row: CatalogRow =
                serde_json::from_str(&json).map_err(|error| StoreError::Corrupt {
                    table: "offer_rows",
                    column: "json",
                    reason: error.to_string(),
                })?;
            row.relays = relays
                .query_map([rid], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            Ok(row)
        })
        .collect()
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
fn endpoint_key(url: &str) -> Option<String> {
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
