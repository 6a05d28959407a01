//! Data to standard output, as a table for people or as JSON for programs.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::fault::Fault;
use crate::protocol::text::clean;

/// Where a command writes what it found.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    is_json: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, is_json: bool) -> Self {
        Self { out, is_json }
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
    table.to_string()
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
}
