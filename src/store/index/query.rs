//! NIP-01 filters over the stored events.
//!
//! One statement per value of the most selective list of a filter (tag values,
//! authors or kinds), each reading its index newest first, merged here: one
//! statement with long lists would sort every match before it takes the newest.
//! Once enough are found, the oldest of them bounds the statements that follow.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/01.md>

use std::cmp::Reverse;
use std::collections::BTreeSet;

use nostr::event::{Event, Kind};
use nostr::filter::Filter;
use nostr::key::PublicKey;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::{catalog, sql_time};
use crate::store::StoreError;

/// A candidate in the order of NIP-01: newest first, then lowest id.
type Candidate = (Reverse<i64>, Vec<u8>, i64);

/// Returns the events that match any of `filters`, newest first.
pub(super) fn query(
    connection: &Connection,
    filters: &[Filter],
    limit: usize,
    now: u64,
) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::new();
    for (_, _, rid) in candidates(connection, filters, limit, now)? {
        events.extend(read_event(connection, rid)?);
    }
    Ok(events)
}

/// Returns how many events match any of `filters`.
pub(super) fn count(
    connection: &Connection,
    filters: &[Filter],
    limit: usize,
    now: u64,
) -> Result<usize, StoreError> {
    candidates(connection, filters, limit, now).map(|found| found.len())
}

/// Returns the event with `id`.
pub(super) fn find_event(
    connection: &Connection,
    id: &[u8; 32],
) -> Result<Option<Event>, StoreError> {
    let rid = connection
        .prepare_cached("SELECT rid FROM events WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match rid {
        Some(rid) => read_event(connection, rid),
        None => Ok(None),
    }
}

/// Returns the relays that showed the event with `id`.
pub(super) fn list_sightings(
    connection: &Connection,
    id: &[u8; 32],
) -> Result<Vec<String>, StoreError> {
    Ok(connection
        .prepare_cached(
            "SELECT s.relay FROM events e JOIN sightings s USING (rid)
             WHERE e.id = ?1 ORDER BY s.relay",
        )?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Counts the events of `author` with one of `kinds`, except those at `kind` and `d_tag`.
pub(super) fn count_beside(
    connection: &Connection,
    author: &PublicKey,
    kind: Kind,
    d_tag: Option<&str>,
    kinds: &[u16],
) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM events
         WHERE pubkey = ?1 AND kind = ?2 AND NOT (kind = ?3 AND ?4 IS NOT NULL AND d_tag IS ?4)",
    )?;
    let mut total = 0_u64;
    for counted in kinds {
        let found: u64 = statement.query_row(
            params![author.as_bytes(), counted, kind.as_u16(), d_tag],
            |row| row.get(0),
        )?;
        total = total.saturating_add(found);
    }
    Ok(total)
}

/// Returns the event stored as `rid`; `None` if it was removed meanwhile.
pub(super) fn read_event(connection: &Connection, rid: i64) -> Result<Option<Event>, StoreError> {
    let json: Option<String> = connection
        .prepare_cached("SELECT json FROM bodies WHERE rid = ?1")?
        .query_row([rid], |row| row.get(0))
        .optional()?;
    json.map(|json| {
        Event::from_json(json).map_err(|error| StoreError::Corrupt {
            table: "bodies",
            column: "json",
            reason: error.to_string(),
        })
    })
    .transpose()
}

fn candidates(
    connection: &Connection,
    filters: &[Filter],
    limit: usize,
    now: u64,
) -> Result<BTreeSet<Candidate>, StoreError> {
    let mut found = BTreeSet::new();
    for filter in filters {
        found.append(&mut newest(connection, filter, limit, now)?);
    }
    Ok(found)
}

/// Returns the newest events that match `filter`.
fn newest(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
    now: u64,
) -> Result<BTreeSet<Candidate>, StoreError> {
    let limit = filter.limit.unwrap_or(limit).min(limit);
    let mut found = BTreeSet::new();
    if limit == 0 || filter.generic_tags.values().any(BTreeSet::is_empty) {
        return Ok(found);
    }
    for driver in Driver::all_of(filter) {
        let Some(plan) = Plan::of(connection, filter, &driver, now)? else {
            continue;
        };
        let floor = if found.len() < limit {
            i64::MIN
        } else {
            found.last().map_or(i64::MIN, |(Reverse(at), _, _)| *at)
        };
        let mut statement = connection.prepare_cached(&plan.sql)?;
        let mut parameters = plan.parameters;
        parameters.push(Value::Integer(floor));
        parameters.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let rows = statement.query_map(params_from_iter(parameters), |row| {
            Ok((Reverse(row.get(0)?), row.get(1)?, row.get(2)?))
        })?;
        for row in rows {
            found.insert(row?);
        }
        while found.len() > limit {
            found.pop_last();
        }
    }
    Ok(found)
}

/// What a statement walks along.
enum Driver<'a> {
    Tag(char, &'a str),
    Author(PublicKey),
    Kind(u16),
    Everything,
}

impl<'a> Driver<'a> {
    /// Returns one driver per value of the list that narrows `filter` most.
    fn all_of(filter: &'a Filter) -> Vec<Self> {
        let has_ids = filter.ids.as_ref().is_some_and(|ids| !ids.is_empty());
        // A search narrows most, and costs most: it must not be made once for each value.
        if has_ids || filter.search.is_some() {
            return vec![Self::Everything];
        }
        let shortest = filter
            .generic_tags
            .iter()
            .min_by_key(|(_, values)| values.len());
        if let Some((letter, values)) = shortest {
            let letter = char::from(letter.as_byte());
            return values
                .iter()
                .map(|value| Self::Tag(letter, value))
                .collect();
        }
        match (&filter.authors, &filter.kinds) {
            (Some(authors), _) if !authors.is_empty() => {
                authors.iter().map(|author| Self::Author(*author)).collect()
            }
            (_, Some(kinds)) if !kinds.is_empty() => {
                kinds.iter().map(|kind| Self::Kind(kind.as_u16())).collect()
            }
            _ => vec![Self::Everything],
        }
    }
}

/// A statement; its last two parameters, the oldest second and the limit, are still to be added.
struct Plan {
    sql: String,
    parameters: Vec<Value>,
}

impl Plan {
    /// Returns `None` when nothing can match.
    fn of(
        connection: &Connection,
        filter: &Filter,
        driver: &Driver<'_>,
        now: u64,
    ) -> Result<Option<Self>, StoreError> {
        let mut plan = Self {
            sql: "SELECT e.created_at, e.id, e.rid FROM ".to_owned(),
            parameters: Vec::new(),
        };
        let time = plan.drive(driver);
        plan.and(
            "(e.expires_at IS NULL OR e.expires_at > ?)",
            [time_value(now)],
        );
        if let Some(ids) = &filter.ids {
            plan.and_in("e.id", ids.iter().map(|id| blob(id.as_bytes())));
        }
        if let (Some(authors), false) = (&filter.authors, matches!(driver, Driver::Author(_))) {
            plan.and_in("e.pubkey", authors.iter().map(|key| blob(key.as_bytes())));
        }
        if let (Some(kinds), false) = (&filter.kinds, matches!(driver, Driver::Kind(_))) {
            plan.and_in(
                "e.kind",
                kinds.iter().map(|kind| i64::from(kind.as_u16()).into()),
            );
        }
        if let Some(since) = filter.since {
            plan.and(&format!("{time} >= ?"), [time_value(since.as_secs())]);
        }
        if let Some(until) = filter.until {
            plan.and(&format!("{time} <= ?"), [time_value(until.as_secs())]);
        }
        plan.and_tags(filter);
        if let Some(text) = filter
            .search
            .as_deref()
            .filter(|text| !text.trim().is_empty())
        {
            let rids = catalog::matching_events(connection, text)?;
            if rids.is_empty() {
                return Ok(None);
            }
            plan.and_in("e.rid", rids.into_iter().map(Value::Integer));
        }
        plan.sql.push_str(&format!(
            " AND {time} >= ? ORDER BY {time} DESC, e.id LIMIT ?"
        ));
        Ok(Some(plan))
    }

    /// Writes the table to walk along, and returns the column that holds its time.
    fn drive(&mut self, driver: &Driver<'_>) -> &'static str {
        match driver {
            Driver::Tag(letter, value) => {
                self.sql.push_str(
                    "tags t CROSS JOIN events e ON e.rid = t.rid WHERE t.name = ? AND t.value = ?",
                );
                self.parameters.push(Value::Text(letter.to_string()));
                self.parameters.push(Value::Text((*value).to_owned()));
                "t.created_at"
            }
            Driver::Author(author) => {
                self.sql.push_str("events e WHERE e.pubkey = ?");
                self.parameters.push(blob(author.as_bytes()));
                "e.created_at"
            }
            Driver::Kind(kind) => {
                self.sql.push_str("events e WHERE e.kind = ?");
                self.parameters.push(i64::from(*kind).into());
                "e.created_at"
            }
            Driver::Everything => {
                self.sql.push_str("events e WHERE TRUE");
                "e.created_at"
            }
        }
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.parameters.extend(values);
    }

    /// An empty list allows everything, as in `Filter::match_event`.
    fn and_in(&mut self, column: &str, values: impl ExactSizeIterator<Item = Value>) {
        if values.len() > 0 {
            let marks = marks(values.len());
            self.and(&format!("{column} IN ({marks})"), values);
        }
    }

    fn and_tags(&mut self, filter: &Filter) {
        for (letter, values) in &filter.generic_tags {
            let condition = format!(
                "EXISTS (SELECT 1 FROM tags x WHERE x.name = ? AND x.value IN ({})
                 AND x.created_at = e.created_at AND x.rid = e.rid)",
                marks(values.len())
            );
            let name = Value::Text(char::from(letter.as_byte()).to_string());
            let values = values.iter().map(|value| Value::Text(value.clone()));
            self.and(&condition, std::iter::once(name).chain(values));
        }
    }
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(",")
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

fn time_value(secs: u64) -> Value {
    Value::Integer(sql_time(secs))
}
