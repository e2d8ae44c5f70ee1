//! From a tree of options to a driver's own type, with errors that name the key.

use super::Options;
use crate::error::{ErrorKind, Result};
use serde::de::value::Error as SimpleError;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::{Map, Value};

/// A child in a driver's options: the name of a node that exists, or options for a new one.
#[derive(Clone, Debug, PartialEq)]
pub enum ChildSpec {
    /// The name of a node of the same graph.
    Node(String),
    /// A node to open.
    Options(Options),
}

impl<'de> Deserialize<'de> for ChildSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self::Node(name)),
            Value::Object(map) => Ok(Self::Options(Options(map))),
            _ => Err(D::Error::custom("expected a child node: its options, or the name of a node")),
        }
    }
}

/// `prefix` is what stands before the keys in the whole, for example `cache.`.
pub(super) fn from_map<T: DeserializeOwned>(
    map: &Map<String, Value>,
    driver: &str,
    prefix: &str,
) -> Result<T> {
    let known = field_names::<T>();
    for key in map.keys() {
        if !known.contains(&key.as_str()) {
            return Err(unknown_key(driver, prefix, key, known));
        }
    }
    // One key at a time would lose required keys, so the whole map is read at once; to name the
    // key that is wrong, the others are then left out one by one.
    T::deserialize(Value::Object(map.clone())).map_err(|error| {
        let key = map.iter().find(|(key, _)| {
            let mut rest = map.clone();
            rest.remove(*key);
            match T::deserialize(Value::Object(rest)) {
                Ok(_) => true,
                Err(e) => e.to_string() == format!("missing field `{key}`"),
            }
        });
        let message =
            error.to_string().replace("missing field `", "missing option `").replace('`', "'");
        ErrorKind::InvalidOption(match key {
            Some((key, value)) => {
                format!("driver '{driver}', option '{prefix}{key}' = {value}: {message}")
            }
            None => format!("driver '{driver}': {message}"),
        })
        .into()
    })
}

fn unknown_key(driver: &str, prefix: &str, key: &str, known: &[&str]) -> crate::Error {
    let hint = match nearest(key, known.iter().copied()) {
        Some(name) => format!("did you mean '{prefix}{name}'?"),
        None if known.is_empty() => "it takes no options of its own".to_owned(),
        None => format!("it takes {}", known.join(", ")),
    };
    ErrorKind::InvalidOption(format!("driver '{driver}' has no option '{prefix}{key}'; {hint}"))
        .into()
}

/// The candidate that a mistyped word most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|c| (strsim::damerau_levenshtein(word, c), c))
        .min()
        .filter(|(distance, c)| *distance <= c.len().max(3) / 3)
        .map(|(_, c)| c)
}

/// The names of a struct's fields, as serde knows them.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = FieldNames(&[]);
    // The answer arrives on the side; the value itself is never built.
    let _ = T::deserialize(&mut names);
    names.0
}

struct FieldNames(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = SimpleError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, SimpleError> {
        Err(SimpleError::custom("only the fields were asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, SimpleError> {
        self.0 = fields;
        Err(SimpleError::custom("only the fields were asked for"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{ByteSize, ImageSpec, OnOff};

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Sample {
        filename: String,
        #[serde(default)]
        offset: Option<ByteSize>,
        #[serde(default)]
        cache_direct: OnOff,
        #[serde(default)]
        file: Option<ChildSpec>,
    }

    fn read(text: &str) -> Result<Sample, String> {
        match ImageSpec::parse(text) {
            Ok(ImageSpec::Options(o)) => o.typed("sample").map_err(|e| e.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_becomes_typed_values() {
        let s = read("filename=x,offset=4k,cache-direct=on,file.driver=null").unwrap();
        assert_eq!(
            (s.filename.as_str(), s.offset, s.cache_direct),
            ("x", Some(ByteSize(4096)), OnOff(true))
        );
        assert!(matches!(s.file, Some(ChildSpec::Options(_))));
        let s = read("filename=x,file=other").unwrap();
        assert_eq!(s.file, Some(ChildSpec::Node("other".to_owned())));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        assert_eq!(
            read("filename=x,ofset=1").unwrap_err(),
            "driver 'sample' has no option 'ofset'; did you mean 'offset'?"
        );
        assert_eq!(
            read("filename=x,colour=1").unwrap_err(),
            "driver 'sample' has no option 'colour'; it takes filename, offset, cache-direct, file"
        );
    }

    #[test]
    fn a_wrong_or_missing_value_is_named() {
        assert!(
            read("filename=x,offset=banana").unwrap_err().starts_with(
                "driver 'sample', option 'offset' = \"banana\": 'banana' is not a size"
            )
        );
        assert!(read("filename=x,cache-direct=maybe").unwrap_err().contains("expected on or off"));
        assert_eq!(read("offset=1").unwrap_err(), "driver 'sample': missing option 'filename'");
    }
}
