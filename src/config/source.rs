//! Where values come from: a TOML file, then the environment over it.
//!
//! Every fault names its origin (the file, or the variable) and the full key. A
//! key nobody reads is a fault too, with the nearest known one as a hint.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::ConfigError;

/// Variables of this program that are no configuration keys.
const RESERVED: &[&str] = &["LOG", "DATA_DIR", "CRASH_AT", "SOAK_SCALE"];
const PREFIX: &str = "FERIA_";
/// The largest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A known key at least this alike is suggested, from 0 to 1.
const LIKENESS: f64 = 0.7;

/// The variables of a process, those of this program only.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Returns the variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// Returns the variables among `pairs` that belong to this program.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .filter(|(name, _)| {
                    name.strip_prefix(PREFIX)
                        .is_some_and(|rest| !RESERVED.contains(&rest))
                })
                .collect(),
        )
    }
}

/// Reads the TOML file at `path`.
pub(super) fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let fault = |source| ConfigError::File {
        path: path.to_owned(),
        source,
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConfigError::Missing {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(fault(error)),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => {
            return Err(fault(std::io::Error::other("larger than 1 MiB")));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(fault)?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        ConfigError::Syntax {
            path: path.to_owned(),
            reason: match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            },
        }
    })
}

/// Lays the variables over `table` and returns which keys they set, and from which variable.
pub(super) fn overlay(
    table: &mut Table,
    environment: &Environment,
    known: &Table,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut origins = BTreeMap::new();
    for (variable, text) in &environment.0 {
        let path: Vec<String> = variable[PREFIX.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        let key = path.join(".");
        let value = parse_variable(text);
        let mut single = value.clone();
        for part in path.iter().rev() {
            single = Value::Table(Table::from_iter([(part.clone(), single)]));
        }
        if let Value::Table(single) = &single {
            check_keys(single, known, &format!("variable {variable}"))?;
        }
        set(table, &path, value);
        origins.insert(key, variable.clone());
    }
    Ok(origins)
}

/// Numbers, booleans and arrays are written as in TOML; everything else is text.
fn parse_variable(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .filter(|value| !matches!(value, Value::Datetime(_) | Value::Float(_)))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// Refuses a key of `table` that is not in `known`; arrays of tables are compared
/// with the first element of the known one. A known table without keys is one of
/// free names, and takes any.
pub(super) fn check_keys(table: &Table, known: &Table, origin: &str) -> Result<(), ConfigError> {
    check_level(table, known, "", origin)
}

/// As [`check_keys`], for a table that stands at `section`.
pub(super) fn check_section(
    table: &Table,
    known: &Table,
    section: &str,
    origin: &str,
) -> Result<(), ConfigError> {
    check_level(table, known, section, origin)
}

fn check_level(
    table: &Table,
    known: &Table,
    prefix: &str,
    origin: &str,
) -> Result<(), ConfigError> {
    for (key, value) in table {
        let path = join(prefix, key);
        let Some(expected) = known.get(key) else {
            return Err(ConfigError::UnknownKey {
                origin: origin.to_owned(),
                suggestion: nearest(key, known).map(|near| join(prefix, near)),
                key: path,
            });
        };
        match (value, expected) {
            (Value::Table(value), Value::Table(expected)) if !expected.is_empty() => {
                check_level(value, expected, &path, origin)?;
            }
            (Value::Array(values), Value::Array(expected)) => {
                if let Some(Value::Table(expected)) = expected.first() {
                    for value in values.iter().filter_map(Value::as_table) {
                        check_level(value, expected, &path, origin)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn nearest<'a>(key: &str, known: &'a Table) -> Option<&'a str> {
    known
        .keys()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate.as_str()))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// Reads `table` as a `T` whose every field has a default, or names the key at fault.
/// `origin` tells where a full key came from.
pub(super) fn typed<T: DeserializeOwned>(
    table: &Table,
    section: &str,
    origin: &dyn Fn(&str) -> String,
) -> Result<T, ConfigError> {
    Value::Table(table.clone())
        .try_into::<T>()
        .map_err(|whole: toml::de::Error| {
            // Without one value the rest may pass: then that value is at fault.
            let culprit = table.keys().find(|key| {
                let mut rest = table.clone();
                rest.remove(key.as_str());
                match Value::Table(rest).try_into::<T>() {
                    Ok(_) => true,
                    Err(error) => error.message() != whole.message(),
                }
            });
            let key = culprit.map_or_else(|| section.to_owned(), |key| join(section, key));
            ConfigError::Value {
                origin: origin(&key),
                reason: whole.message().trim().to_owned(),
                key,
            }
        })
}

/// Returns `value` as TOML, the list of all keys of its type. Fields that are
/// `None` would be missing, so types of the configuration have none.
pub(super) fn as_table<T: Serialize>(value: &T) -> Table {
    Table::try_from(value).unwrap_or_default()
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}
