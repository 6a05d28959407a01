//! The identity of a tool's interface: what makes two providers interchangeable.
//!
//! The hash of CEP-15: SHA-256 over the canonical JSON (RFC 8785) of the tool's
//! name and its input and output schema, without what only documents them. A
//! seller may claim any hash; it counts here only when it is the hash of the
//! schema that stands beside it.
//!
//! Documentation is dropped by its name at every level, as the published servers
//! do it, so a property that is itself called `title` or `description` does not
//! count either. A schema that refers to another document has no hash: nothing is
//! fetched for it.
//!
//! <https://docs.contextvm.org/reference/ceps/cep-15/>

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

/// The namespace of claims about a schema, in tags and in a tool's `_meta`.
pub const NAMESPACE: &str = "io.contextvm/common-schema";
/// Members of a JSON Schema that only document it.
const DOCUMENTATION: &[&str] = &[
    "title",
    "description",
    "examples",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Returns the hash of a tool's interface, 64 hex digits. `None` when a schema
/// refers to something outside of itself.
///
/// Recurses as deep as the schemas nest: bound them first.
#[must_use]
pub fn schema_hash(name: &str, input: &Value, output: Option<&Value>) -> Option<String> {
    let mut payload = Map::new();
    payload.insert("name".to_owned(), Value::from(name));
    payload.insert("inputSchema".to_owned(), normalised(input)?);
    if let Some(output) = output {
        payload.insert("outputSchema".to_owned(), normalised(output)?);
    }
    let mut text = String::new();
    write_canonical(&Value::Object(payload), &mut text);
    Some(hex::encode(Sha256::digest(text)))
}

/// Returns `schema` without its documentation; `None` when it refers elsewhere.
fn normalised(schema: &Value) -> Option<Value> {
    match schema {
        Value::Array(items) => items
            .iter()
            .map(normalised)
            .collect::<Option<_>>()
            .map(Value::Array),
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !is_documentation(name))
            .map(|(name, value)| {
                let is_elsewhere = name == "$ref" && value.as_str().is_some_and(is_foreign);
                (!is_elsewhere).then_some(())?;
                Some((name.clone(), normalised(value)?))
            })
            .collect::<Option<_>>()
            .map(Value::Object),
        other => Some(other.clone()),
    }
}

fn is_documentation(name: &str) -> bool {
    DOCUMENTATION.contains(&name) || name.starts_with("x-")
}

fn is_foreign(reference: &str) -> bool {
    !reference.starts_with('#')
}

/// Writes `value` as RFC 8785 has it: members sorted by their UTF-16 code units,
/// no spaces, numbers as ECMAScript prints them.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (place, (name, member)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Number(number) => out.push_str(&ecma_number(number)),
        // Strings, booleans and null are written the same way everywhere.
        other => out.push_str(&other.to_string()),
    }
}

/// Returns a number as ECMAScript prints the nearest double.
///
/// <https://tc39.es/ecma262/#sec-numeric-types-number-tostring>
fn ecma_number(number: &Number) -> String {
    let value = number.as_f64().unwrap_or_default();
    if value == 0.0 {
        return "0".to_owned();
    }
    // Rust prints the shortest digits that read back as the same double, too.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if value < 0.0 { "-" } else { "" };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let split = |at: i32| digits.split_at(usize::try_from(at).unwrap_or_default());
    let text = match exponent {
        0..=20 if count <= exponent + 1 => format!("{digits}{}", zeros(exponent + 1 - count)),
        0..=20 => {
            let (whole, fraction) = split(exponent + 1);
            format!("{whole}.{fraction}")
        }
        -6..=-1 => format!("0.{}{digits}", zeros(-exponent - 1)),
        _ => {
            let (first, rest) = split(1);
            let point = if rest.is_empty() { "" } else { "." };
            let plus = if exponent > 0 { "+" } else { "" };
            format!("{first}{point}{rest}e{plus}{exponent}")
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = String::new();
        write_canonical(&serde_json::from_str(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn json_is_written_as_rfc_8785_has_it() {
        for (text, expected) in [
            (
                "[56.0, 1e21, 1e20, 1e-6, 1e-7]",
                "[56,1e+21,100000000000000000000,0.000001,1e-7]",
            ),
            (
                "[333333333.33333329, 4.50, 2e-3]",
                "[333333333.3333333,4.5,0.002]",
            ),
            (
                "[-0.0, -1.5e300, 9007199254740993]",
                "[0,-1.5e+300,9007199254740992]",
            ),
            ("[0.000000000000000000000000001, 123e3]", "[1e-27,123000]"),
            (
                r#"{"b":1,"a":[true,null,{"d":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"}]}"#,
                "{\"a\":[true,null,{\"d\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}],\"b\":1}",
            ),
            // A surrogate pair sorts before U+FB33, though its code point is higher.
            (
                r#"{"\ufb33":1,"\ud83d\ude00":2,"\u20ac":3,"1":4}"#,
                "{\"1\":4,\"€\":3,\"😀\":2,\"\u{fb33}\":1}",
            ),
        ] {
            assert_eq!(canonical(text), expected);
        }
    }

    #[test]
    fn documentation_does_not_count_and_structure_does() {
        let tool = json!({
            "title": "Translate", "type": "object", "x-vendor": 1,
            "properties": {"text": {"type": "string", "description": "what", "default": "a", "examples": ["b"]}},
            "required": ["text"],
        });
        let plain = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
        let hash = schema_hash("translate", &tool, None).unwrap();
        assert_eq!(hash.len(), 64);
        assert_eq!(schema_hash("translate", &plain, None), Some(hash.clone()));
        assert_eq!(
            hash,
            hex::encode(Sha256::digest(
                r#"{"inputSchema":{"properties":{"text":{"type":"string"}},"required":["text"],"type":"object"},"name":"translate"}"#
            ))
        );

        let other = json!({"type": "object", "properties": {"text": {"type": "number"}}, "required": ["text"]});
        for changed in [
            schema_hash("translate_text", &plain, None),
            schema_hash("translate", &plain, Some(&plain)),
            schema_hash("translate", &other, None),
        ] {
            assert_ne!(changed, Some(hash.clone()));
            assert!(changed.is_some());
        }
    }

    #[test]
    fn a_schema_that_refers_elsewhere_has_no_identity() {
        let elsewhere = json!({"properties": {"a": {"$ref": "http://a.example/s.json"}}});
        let inside = json!({"properties": {"a": {"$ref": "#/definitions/A"}}});
        assert_eq!(schema_hash("x", &elsewhere, None), None);
        assert_eq!(schema_hash("x", &inside, Some(&elsewhere)), None);
        assert!(schema_hash("x", &inside, None).is_some());
    }

    proptest! {
        #[test]
        fn every_number_reads_back(value in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
            let number = Number::from_f64(value).unwrap();
            prop_assert_eq!(ecma_number(&number).parse::<f64>().unwrap(), value);
        }
    }
}
