//! From text to a tree of options.

use super::{ImageSpec, Options};
use crate::error::{ErrorKind, Result};
use serde_json::{Map, Value};

/// Options nested deeper than this are no graph that anybody wants.
const MAX_DEPTH: usize = 32;

pub(super) fn image_spec(text: &str) -> Result<ImageSpec> {
    if let Some(json) = text.strip_prefix("json:") {
        return from_json(json).map(ImageSpec::Options);
    }
    if looks_dotted(text) {
        return from_dotted(text).map(ImageSpec::Options);
    }
    if text.is_empty() {
        return Err(invalid("an image is a path or options, not an empty word".to_owned()));
    }
    Ok(ImageSpec::Path(text.into()))
}

/// Whether the text starts like `key=` or `key.key=`, which no probed path does.
fn looks_dotted(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| is_key(key))
}

fn is_key(key: &str) -> bool {
    key.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

fn from_json(json: &str) -> Result<Options> {
    let value: Value = serde_json::from_str(json)
        .map_err(|e| invalid(format!("the options after 'json:' are not JSON: {e}")))?;
    let Value::Object(map) = value else {
        return Err(invalid("the options after 'json:' are not an object {…}".to_owned()));
    };
    unfold(map, 0).map(Options)
}

/// Turns dotted keys inside JSON objects into nested ones. `above` counts what the map is nested
/// in. Everything that recurses over options relies on the bound that is checked here.
fn unfold(map: Map<String, Value>, above: usize) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for (key, value) in map {
        let here = above + key.matches('.').count();
        let value = match value {
            Value::Object(inner) if here < MAX_DEPTH => Value::Object(unfold(inner, here + 1)?),
            other if here + nesting(&other) <= MAX_DEPTH => other,
            _ => return Err(too_deep(&key)),
        };
        insert(&mut out, &key, value)?;
    }
    Ok(out)
}

/// How many arrays and objects lie within one another; the JSON parser bounds it.
fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nesting).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

fn from_dotted(text: &str) -> Result<Options> {
    let mut map = Map::new();
    for pair in split_pairs(text) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(invalid(format!("'{pair}' is not of the form key=value")));
        };
        insert(&mut map, key, Value::String(value.to_owned()))?;
    }
    Ok(Options(map))
}

/// Splits at single commas; a doubled comma stands for itself.
fn split_pairs(text: &str) -> Vec<String> {
    let mut pairs = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            pairs.push(String::new());
        } else if let Some(last) = pairs.last_mut() {
            last.push(c);
        }
    }
    pairs
}

fn insert(map: &mut Map<String, Value>, dotted: &str, value: Value) -> Result<()> {
    if !is_key(dotted) {
        return Err(invalid(format!(
            "'{dotted}' is not an option's name: names are lower-case words, digits and '-', with \
             '.' between a child and its option"
        )));
    }
    if dotted.matches('.').count() > MAX_DEPTH {
        return Err(too_deep(dotted));
    }
    let mut level = map;
    let mut key = dotted;
    while let Some((child, rest)) = key.split_once('.') {
        let entry = level.entry(child).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = entry else {
            return Err(invalid(format!("'{child}' is given both a value and options of its own")));
        };
        level = inner;
        key = rest;
    }
    match (level.get_mut(key), value) {
        (None, value) => {
            level.insert(key.to_owned(), value);
            Ok(())
        }
        (Some(Value::Object(old)), Value::Object(new)) => {
            new.into_iter().try_for_each(|(key, value)| insert(old, &key, value))
        }
        (Some(_), _) => Err(invalid(format!("option '{dotted}' is given twice"))),
    }
}

fn too_deep(key: &str) -> crate::Error {
    invalid(format!("'{key}' is nested more than {MAX_DEPTH} deep"))
}

fn invalid(message: String) -> crate::Error {
    ErrorKind::InvalidOption(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(text: &str) -> String {
        match image_spec(text) {
            Ok(ImageSpec::Options(o)) => o.to_string(),
            Ok(ImageSpec::Path(p)) => format!("path {}", p.display()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn three_spellings_of_one_graph() {
        let tree = r#"json:{"driver":"raw","file":{"driver":"file","filename":"a,b"}}"#;
        assert_eq!(options("driver=raw,file.driver=file,file.filename=a,,b"), tree);
        assert_eq!(options(tree), tree);
        assert_eq!(
            options(r#"json:{"driver":"raw","file.driver":"file","file":{"filename":"a,b"}}"#),
            tree
        );
    }

    #[test]
    fn a_path_is_a_path_unless_it_looks_like_options() {
        assert_eq!(options("disk.img"), "path disk.img");
        assert_eq!(options("/a/b=c"), "path /a/b=c");
        assert_eq!(options("./a=b"), "path ./a=b");
        assert_eq!(options("a=b"), r#"json:{"a":"b"}"#);
    }

    #[test]
    fn malformed_options_say_what_is_wrong() {
        assert_eq!(options("driver=raw,file"), "'file' is not of the form key=value");
        assert_eq!(options("a=1,a=2"), "option 'a' is given twice");
        assert_eq!(options("a=1,a.b=2"), "'a' is given both a value and options of its own");
        assert_eq!(options("json:[1]"), "the options after 'json:' are not an object {…}");
        assert!(options("json:{").starts_with("the options after 'json:' are not JSON: "));
        assert!(options("driver=raw,Fi le=x").starts_with("'Fi le' is not an option's name"));
        assert!(options("").contains("empty"));
    }

    #[test]
    fn no_mix_of_spellings_nests_deeper_than_allowed() {
        let objects = |levels: usize| {
            format!("json:{}{{}}{}", r#"{"file":"#.repeat(levels), "}".repeat(levels))
        };
        let dots = |levels: usize| format!(r#"json:{{"{}file":{{}}}}"#, "file.".repeat(levels));
        let arrays = |levels: usize| {
            format!(r#"json:{{"file":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        let mixed = |levels: usize| {
            let key = format!(r#"{{"{}file":"#, "file.".repeat(20));
            format!("json:{}{{}}{}", key.repeat(levels), "}".repeat(levels))
        };
        for fine in [objects(MAX_DEPTH), dots(MAX_DEPTH - 1), arrays(MAX_DEPTH), mixed(1)] {
            assert_eq!(image_spec(&options(&fine)).ok(), image_spec(&fine).ok(), "{fine}");
            assert!(image_spec(&fine).is_ok(), "{}", options(&fine));
        }
        let deep =
            [objects(MAX_DEPTH + 1), dots(MAX_DEPTH), arrays(MAX_DEPTH + 1), mixed(2), mixed(100)];
        for deep in deep.into_iter().chain([dots(MAX_DEPTH + 1), objects(120), arrays(120)]) {
            assert!(options(&deep).ends_with("nested more than 32 deep"), "{}", options(&deep));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = image_spec(&text);
            let _ = image_spec(&format!("json:{text}"));
            let _ = image_spec(&format!("driver={text}"));
        }
    }
}
