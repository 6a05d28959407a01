//! Foreign text made safe to store, show and hand to a model.

use serde_json::Value;
use url::Url;

/// The longest URL that is kept.
const MAX_URL_BYTES: usize = 2_048;

/// Returns `text` in one line without control, bidirectional-override and
/// zero-width characters, at most `max_chars` long.
#[must_use]
pub fn clean(text: &str, max_chars: usize) -> String {
    let mut cleaned = String::new();
    let mut length = 0;
    let mut pending_space = false;
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if length >= max_chars {
            break;
        }
        if c.is_whitespace() {
            pending_space = !cleaned.is_empty();
            continue;
        }
        if pending_space {
            if length + 1 >= max_chars {
                break;
            }
            cleaned.push(' ');
            length += 1;
            pending_space = false;
        }
        cleaned.push(c);
        length += 1;
    }
    cleaned
}

/// Returns whether `text` is one line without anything that [`clean`] takes out.
/// Identifiers cannot be cleaned, because they would name something else.
#[must_use]
pub fn is_visible(text: &str) -> bool {
    let breaks_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    !text.chars().any(|c| breaks_line(c) || is_invisible(c))
}

/// Characters that change how text reads without being seen: controls, direction
/// marks, zero widths, fillers, and the tags and selectors that hide whole
/// sentences from people but not from a model.
fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(
            c,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns `text` as an http or https URL without user, password and fragment.
#[must_use]
pub fn http_url(text: &str) -> Option<Url> {
    if text.len() > MAX_URL_BYTES {
        return None;
    }
    let mut url = Url::parse(text.trim()).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none();
    url.set_fragment(None);
    is_plain.then_some(url)
}

/// Parses JSON of at most `max_bytes` bytes and `max_depth` levels.
#[must_use]
pub fn bounded_json(text: &str, max_bytes: usize, max_depth: usize) -> Option<Value> {
    if text.len() > max_bytes || json_depth(text) > max_depth {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Returns how deep brackets nest in `text`, those inside strings not counted.
#[must_use]
pub fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn invisible_and_control_characters_are_dropped() {
        assert_eq!(clean("a\u{202e}b\u{200b}c\n\n d\u{0}", 99), "abc d");
        assert_eq!(clean("  long text ", 4), "long");
        assert_eq!(clean("\u{e0041}\u{e0042}", 9), "");
        assert_eq!(clean("a\u{e0101}\u{fe00}\u{3164}\u{2067}b", 9), "ab");
    }

    #[test]
    fn an_identifier_is_visible_or_refused() {
        for good in ["translate_v2", "https://a.example/ü:x", "a b", ""] {
            assert!(is_visible(good), "{good}");
        }
        for bad in [
            "a\u{1b}[2J",
            "a\nb",
            "a\u{202e}b",
            "a\u{2028}b",
            "\u{e0041}",
        ] {
            assert!(!is_visible(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_cleaned_is_visible_and_stays_as_it_is(text in ".*", most in 0_usize..40) {
            let cleaned = clean(&text, most);
            prop_assert!(is_visible(&cleaned), "{:?}", cleaned);
            prop_assert!(cleaned.chars().count() <= most);
            prop_assert_eq!(clean(&cleaned, most), cleaned);
        }
    }

    #[test]
    fn only_plain_web_addresses_pass() {
        assert_eq!(
            http_url("https://a.example/x#y")
                .map(String::from)
                .as_deref(),
            Some("https://a.example/x")
        );
        for bad in [
            "javascript:alert(1)",
            "ftp://a.example",
            "https://user:pw@a.example",
            "/relative",
            "",
        ] {
            assert_eq!(http_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn deep_json_is_refused_before_it_is_parsed() {
        assert_eq!(json_depth(r#"{"a":["[[[[\"{{"]}"#), 2);
        assert!(bounded_json(&"[".repeat(100_000), 1 << 20, 20).is_none());
        assert!(bounded_json(r#"{"a":1}"#, 4, 20).is_none());
        assert!(bounded_json(r#"{"a":1}"#, 100, 20).is_some());
    }
}
