//! Reports as pages and pictures that need nothing else: no script, style or font of elsewhere.
pub mod plot;
pub mod roofline;

use crate::text::plain;
use serde_json::Value;
use std::borrow::Cow;

/// The style of pictures, in pages and in files of their own.
pub(crate) const PLOT_STYLE: &str = include_str!("plot.css");
/// The style of what else is in a page.
const STYLE: &str = include_str!("style.css");

/// A page of HTML.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{PLOT_STYLE}{STYLE}</style>\n</head>\n<body>\n{body}</body>\n\
         </html>\n",
        escaped(title),
    )
}

/// A template with a text at each of its places, such as `{{data}}`. What is put in is not looked
/// at again: it may hold the name of a place.
pub fn filled(template: &str, texts: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((at, place, text)) = (texts.iter())
        .filter_map(|(place, text)| Some((rest.find(place)?, place, text)))
        .min_by_key(|(at, ..)| *at)
    {
        out += &rest[..at];
        out += text;
        rest = &rest[at + place.len()..];
    }
    out + rest
}

/// Plain text that is neither markup nor the end of an attribute, and that no reader of XML refuses.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// JSON whose texts are plain and that ends no script: names come from the model.
pub fn embedded(mut json: Value) -> String {
    make_plain(&mut json);
    json.to_string().replace('<', "\\u003c")
}

fn make_plain(json: &mut Value) {
    match json {
        Value::String(text) => {
            if let Cow::Owned(changed) = plain(text) {
                *text = changed;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_plain),
        Value::Object(fields) => fields.values_mut().for_each(make_plain),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_the_script() {
        let name = "</script><script>alert(1)</script>";
        let safe = embedded(serde_json::json!({ "name": name }));
        assert!(!safe.contains('<'), "{safe}");
        let back: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(back["name"], name);
    }

    /// What a script reads is what it shows.
    #[test]
    fn names_turn_nothing_around() {
        assert_eq!(escaped("a\u{202e}b\u{2066}<"), "a\\u202eb\\u2066&lt;");
        let data = embedded(serde_json::json!([{ "nodes": ["a\u{202e}b\u{9b}"] }]));
        let read: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(read[0]["nodes"][0], "a\\u202eb\\u009b");
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(escaped("\u{1b}[2J\0"), "\\u001b[2J\\u0000");
    }

    #[test]
    fn places_are_filled_once() {
        let texts = [("{{a}}", "1{{b}}"), ("{{b}}", "2{{a}}")];
        assert_eq!(filled("x{{b}}y{{a}}z", &texts), "x2{{a}}y1{{b}}z");
    }

    #[test]
    fn styles_ask_for_nothing() {
        for outside in ["http", "@import", "url("] {
            assert!(!PLOT_STYLE.contains(outside) && !STYLE.contains(outside));
        }
    }
}
