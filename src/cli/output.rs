//! Data to standard output, as a table for people or as JSON for programs;
//! messages to standard error.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::fault::Fault;
use crate::protocol::text::clean;

/// Where a command writes what it found, and what it has to say beside it.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    is_json: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, notes: &'a mut dyn Write, is_json: bool) -> Self {
        Self {
            out,
            notes,
            is_json,
        }
    }

    /// Writes `value` as JSON, or what `render` makes of it.
    pub(super) fn show(
        &mut self,
        value: &Value,
        render: impl FnOnce(&Value) -> String,
    ) -> Result<(), Fault> {
        let text = if self.is_json {
            serde_json::to_string_pretty(value).unwrap_or_default()
        } else {
            render(value)
        };
        self.line(&text)
    }

    /// Writes one line and hands it on at once.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Fault> {
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        Ok(())
    }

    /// Writes `bytes` as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        Ok(())
    }

    /// Tells a person something that is not the data. Programs find it in the JSON.
    pub(super) fn note(&mut self, text: &str) {
        if !self.is_json {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(self.notes, "{text}");
        }
    }

    /// Says why the command did not do as asked.
    pub(super) fn fault(&mut self, fault: &Fault) {
        let text = if self.is_json {
            fault.to_json().to_string()
        } else {
            fault.to_string()
        };
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(self.notes, "{text}");
    }

    /// Returns whether programs read this.
    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }
}

/// Renders the objects of `rows` as a table: a title and a key for each column.
pub(super) fn table(rows: &Value, columns: &[(&str, &str)], empty: &str) -> String {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(columns.iter().map(|(_, key)| cell(&row[*key])));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Renders unix seconds as people write them, in UTC.
pub(super) fn time(unix_secs: u64) -> String {
    let (days, rest) = (unix_secs / 86_400, unix_secs % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Returns year, month and day of the day `days` after 1 January 1970.
///
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Renders the members of `object` one a line.
pub(super) fn facts(object: &Value, keys: &[(&str, &str)]) -> String {
    let width = keys.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
    keys.iter()
        .map(|(title, key)| format!("{title:width$}  {}", cell(&object[*key])))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Text from the network is shown without what could steer a terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    clean(&text, 120)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_shows_foreign_text_without_control_characters() {
        let rows = json!([{"name": "a\u{1b}[2J\u{202e}b", "price": null}]);

        let text = table(&rows, &[("NAME", "name"), ("PRICE", "price")], "none");

        assert!(text.contains("a[2Jb"));
        assert!(!text.contains(['\u{1b}', '\u{202e}']));
        assert_eq!(table(&json!([]), &[], "none"), "none");
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56Z");
        assert_eq!(time(1_767_225_599), "2025-12-31 23:59:59Z");
    }
}
