//! An image as a user names it: a path, dotted keys, or JSON.
//!
//! What parses is opened too, with drivers that touch nothing outside of the process.

use crate::world::{block_on, list};
use arbitrary::{Arbitrary, Unstructured};
use block_core::{ErrorKind, Graph, ImageSpec, Inherited, Registry};

/// How far an input can come.
pub const OUTCOMES: &[&str] = &["a path", "malformed", "no graph", "a graph"];

#[derive(Debug)]
enum Input<'a> {
    Text(&'a str),
    Dotted(Vec<Pair<'a>>),
    Json(Vec<Pair<'a>>),
}

#[derive(Arbitrary, Debug)]
struct Pair<'a> {
    /// How many times `file.` stands before the key.
    depth: u8,
    key: u8,
    value: Value<'a>,
}

#[derive(Arbitrary, Debug)]
enum Value<'a> {
    Word(u8),
    Number(u64),
    Text(&'a str),
    Nested(u8),
}

const PAIRS: usize = 12;
const KEYS: [&str; 10] = [
    "driver",
    "file",
    "size",
    "offset",
    "node-name",
    "read-zeroes",
    "latency-ns",
    "filename",
    "cache",
    "read-only",
];
const WORDS: [&str; 12] =
    ["null", "raw", "zoned-file", "on", "off", "1M", "64k", "0", "-1", "16E", "x,y", "file"];

/// Tries one input.
pub fn run(data: &[u8]) -> &'static str {
    let mut bytes = Unstructured::new(data);
    let input = match u8::arbitrary(&mut bytes).unwrap_or(0) % 4 {
        0 => Input::Text(<&str>::arbitrary_take_rest(bytes).unwrap_or("")),
        1 => Input::Json(list(&mut bytes, PAIRS)),
        _ => Input::Dotted(list(&mut bytes, PAIRS)),
    };
    let text = input.text();
    let _ = block_core::parse_size(&text);
    let spec = match ImageSpec::parse(&text) {
        Ok(spec) => spec,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::InvalidOption(_)), "{text}: {error}");
            assert!(!error.to_string().is_empty());
            return "malformed";
        }
    };
    let ImageSpec::Options(options) = &spec else {
        return "a path";
    };
    let again = ImageSpec::parse(&options.to_string());
    assert_eq!(again.ok().as_ref(), Some(&spec), "{text} prints as {options}");
    let drivers = Registry::new()
        .with(null_driver::null())
        .with(raw_format::raw())
        .with(zoned_file::zoned_file());
    let opened = block_on(async {
        let graph = Graph::new(drivers);
        let node = graph.open_options(options.clone(), Inherited::default()).await?;
        assert!(i64::try_from(node.length()).is_ok());
        Ok::<_, block_core::Error>(())
    });
    match opened {
        Ok(()) => "a graph",
        Err(error) => {
            let kinds = ["invalid-option", "invalid-image", "busy", "unsupported", "read-only"];
            assert!(kinds.contains(&error.kind().name()), "{text}: {error:?}");
            "no graph"
        }
    }
}

impl Input<'_> {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Dotted(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|p| format!("{}={}", p.key("."), p.value.text().replace(',', ",,")));
                pairs.collect::<Vec<_>>().join(",")
            }
            Self::Json(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|p| format!("{}:{}", serde_json::Value::from(p.key(".")), p.value.json()));
                format!("json:{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Pair<'_> {
    fn key(&self, dot: &str) -> String {
        let depth = usize::from(if self.depth < 200 { self.depth % 4 } else { self.depth });
        let key = KEYS[usize::from(self.key) % KEYS.len()];
        format!("{}{key}", format!("file{dot}").repeat(depth))
    }
}

impl Value<'_> {
    fn text(&self) -> String {
        match self {
            Self::Word(n) => WORDS[usize::from(*n) % WORDS.len()].to_owned(),
            Self::Number(n) => n.to_string(),
            Self::Text(text) => (*text).to_owned(),
            Self::Nested(depth) => "{".repeat(usize::from(*depth)),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Nested(depth) => {
                let depth = usize::from(*depth);
                let middle = r#"{"driver":"null"}"#;
                format!(
                    "{}{middle}{}",
                    r#"{"driver":"raw","file":"#.repeat(depth),
                    "}".repeat(depth)
                )
            }
            _ => serde_json::Value::from(self.text()).to_string(),
        }
    }
}
