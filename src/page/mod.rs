//! Reports as pages and pictures that need nothing else: no script, style or font of elsewhere.
pub mod plot;
pub mod roofline;

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

/// Text that is neither markup nor the end of an attribute, and that no reader of XML refuses.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// JSON that ends no script: names come from the model.
pub fn embedded(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_end_the_script() {
        let name = "</script><script>alert(1)</script>";
        let text = serde_json::json!({ "name": name }).to_string();
        let safe = embedded(&text);
        assert!(!safe.contains('<'), "{safe}");
        let back: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(back["name"], name);
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(escaped("\u{1b}[2J\0"), "\u{fffd}[2J\u{fffd}");
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
