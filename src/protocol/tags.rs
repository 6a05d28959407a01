//! Reading and writing tags.

use nostr::event::{Event, Tag};

/// The longest `d` tag that is written.
const MAX_D_TAG_CHARS: usize = 64;

/// Returns the first value of the first tag called `name`.
#[must_use]
pub fn first<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event
        .tags
        .iter()
        .find(|tag| tag.kind() == name)
        .and_then(Tag::content)
}

/// Returns the tags called `name`, each with its values without the name.
pub fn all<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a [String]> {
    event
        .tags
        .iter()
        .filter(move |tag| tag.kind() == name)
        .map(|tag| &tag.as_slice()[1..])
}

/// Returns the first value of each tag called `name`.
pub fn values<'a>(event: &'a Event, name: &'a str) -> impl Iterator<Item = &'a str> {
    all(event, name).filter_map(|values| values.first().map(String::as_str))
}

/// Returns letter and first value of each single-letter tag: what NIP-01 filters see.
pub fn indexed(event: &Event) -> impl Iterator<Item = (&str, &str)> {
    event
        .tags
        .iter()
        .filter(|tag| tag.single_letter_tag().is_some())
        .filter_map(|tag| Some((tag.kind(), tag.content()?)))
}

/// Returns when the event expires (NIP-40), in Unix seconds. `None` when it does
/// not, or says so unreadably.
#[must_use]
pub fn expiration(event: &Event) -> Option<u64> {
    first(event, "expiration").and_then(|text| text.parse().ok())
}

/// Returns a tag of `name` and `values`.
#[must_use]
pub fn tag(name: &str, values: &[&str]) -> Tag {
    Tag::custom(name, values.iter().copied())
}

/// Returns `text` as a `d` tag that every known client takes: letters, digits,
/// `-` and `_`, never empty.
#[must_use]
pub fn clean_d(text: &str) -> String {
    let cleaned: String = text
        .chars()
        .take(MAX_D_TAG_CHARS)
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    match cleaned.trim_matches('-') {
        "" => "listing".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_d_tag_has_only_what_every_client_takes() {
        assert_eq!(clean_d("translate_v2"), "translate_v2");
        assert_eq!(clean_d("https://a.example/ü:x"), "https---a-example---x");
        assert_eq!(clean_d("::"), "listing");
        assert_eq!(clean_d(""), "listing");
        assert_eq!(clean_d(&"x".repeat(500)).len(), 64);
    }
}
