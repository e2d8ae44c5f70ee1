//! Rules as options.

use crate::driver::NAME;
use crate::failure::Failure;
use crate::ops::Ops;
use crate::rule::{Action, Intrusion, Place, Rule, When};
use block_core::{ByteSize, ChildSpec, ErrorKind, Options, Result, ZoneCondition};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A number that is no size. Read as sizes are, because dotted options give numbers as text, which
/// serde's own `u64` does not take.
type Number = ByteSize;

#[derive(serde::Deserialize)]
pub(crate) struct FaultOptions {
    pub(crate) file: ChildSpec,
    /// By name, which is also the order in which they are asked.
    #[serde(default)]
    pub(crate) rules: BTreeMap<String, Options>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RuleOptions {
    action: String,
    #[serde(default)]
    op: Option<Word<Ops>>,
    #[serde(default)]
    zone: Option<Number>,
    #[serde(default)]
    offset: Option<ByteSize>,
    #[serde(default)]
    length: Option<ByteSize>,
    #[serde(default)]
    skip: Option<Number>,
    #[serde(default)]
    times: Option<Number>,
    #[serde(default)]
    probability: Option<Word<f64>>,
    #[serde(default)]
    seed: Option<Number>,
    #[serde(default)]
    error: Option<Word<Failure>>,
    #[serde(default)]
    when: Option<When>,
    #[serde(default)]
    bytes: Option<ByteSize>,
    #[serde(default)]
    delay_us: Option<Number>,
    #[serde(default)]
    jitter_us: Option<Number>,
    #[serde(default)]
    bits: Option<Number>,
    #[serde(default)]
    target_zone: Option<Number>,
}

/// Reads the rule of this name.
pub(crate) fn rule(name: &str, options: &Options) -> Result<Rule> {
    let key = format!("rules.{name}");
    let read: RuleOptions = options.typed_within(NAME, &key)?;
    let invalid = |message: String| {
        ErrorKind::InvalidOption(format!("driver '{NAME}', option '{key}': {message}"))
    };
    let action = action(&read).map_err(&invalid)?;
    let mut rule = Rule::new(name, action).at(place(&read).map_err(&invalid)?);
    if let Some(ops) = read.op {
        rule = rule.on(ops.0);
    }
    if let Some(times) = read.times {
        rule = rule.times(times.0);
    }
    if let Some(probability) = read.probability {
        rule = rule.probability(probability.0);
    }
    Ok(rule.skip(read.skip.unwrap_or_default().0).seed(read.seed.unwrap_or_default().0))
}

fn place(read: &RuleOptions) -> Result<Place, String> {
    match (read.zone, read.offset, read.length) {
        (None, None, None) => Ok(Place::Anywhere),
        (Some(zone), None, None) => Ok(Place::Zone(zone.0)),
        (None, offset, length) => {
            let start = offset.unwrap_or_default().0;
            let end = length.map_or(u64::MAX, |len| start.saturating_add(len.0));
            Ok(Place::Bytes(start..end))
        }
        (Some(_), ..) => Err("give a zone or a range of bytes, not both".to_owned()),
    }
}

/// Each action, and the options that it takes besides those of every rule.
const ACTIONS: [(&str, &[&str]); 11] = [
    ("error", &["error", "when"]),
    ("short", &["error", "bytes"]),
    ("torn", &["error"]),
    ("delay", &["delay-us", "jitter-us", "when"]),
    ("hang", &["when"]),
    ("corrupt", &["bits"]),
    ("append", &["bytes", "target-zone"]),
    ("finish", &["target-zone"]),
    ("reset", &["target-zone"]),
    ("read-only", &["target-zone"]),
    ("offline", &["target-zone"]),
];

fn action(read: &RuleOptions) -> Result<Action, String> {
    let Some((name, takes)) = ACTIONS.iter().find(|(name, _)| *name == read.action) else {
        let names = ACTIONS.map(|(name, _)| name).join(", ");
        return Err(format!("'{}' is no action; there are {names}", read.action));
    };
    let given = [
        ("error", read.error.is_some()),
        ("when", read.when.is_some()),
        ("bytes", read.bytes.is_some()),
        ("delay-us", read.delay_us.is_some()),
        ("jitter-us", read.jitter_us.is_some()),
        ("bits", read.bits.is_some()),
        ("target-zone", read.target_zone.is_some()),
    ];
    if let Some((key, _)) = given.iter().find(|(key, given)| *given && !takes.contains(key)) {
        let takes = takes.join(", ");
        return Err(format!("the action '{name}' takes no '{key}'; it takes {takes}"));
    }
    let error = read.error.as_ref().map_or(Failure::IO, |e| e.0);
    let zone = read.target_zone.map(|z| z.0);
    // An answer that comes late is what a slow device gives; a request that fails did nothing.
    let when = |otherwise| read.when.unwrap_or(otherwise);
    let micros = |number: Option<Number>| Duration::from_micros(number.unwrap_or_default().0);
    Ok(match *name {
        "short" => Action::Short { bytes: read.bytes.map(|b| b.0), error },
        "torn" => Action::Torn { error },
        "delay" => {
            if read.delay_us.is_none() && read.jitter_us.is_none() {
                return Err("the action 'delay' needs 'delay-us' or 'jitter-us'".to_owned());
            }
            let (by, jitter) = (micros(read.delay_us), micros(read.jitter_us));
            Action::Delay { by, jitter, when: when(When::After) }
        }
        "hang" => Action::Hang { when: when(When::After) },
        "corrupt" => {
            let bits = read.bits.map_or(1, |b| b.0);
            Action::Corrupt { bits: u32::try_from(bits).unwrap_or(u32::MAX) }
        }
        "append" => {
            let Some(bytes) = read.bytes else {
                return Err("the action 'append' needs 'bytes'".to_owned());
            };
            Action::Intrude { change: Intrusion::Append(bytes.0), zone }
        }
        "finish" => Action::Intrude { change: Intrusion::Finish, zone },
        "reset" => Action::Intrude { change: Intrusion::Reset, zone },
        "read-only" => Action::Retire { condition: ZoneCondition::ReadOnly, zone },
        "offline" => Action::Retire { condition: ZoneCondition::Offline, zone },
        _ => Action::Fail { error, when: when(When::Before) },
    })
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "before" => Ok(Self::Before),
            "after" => Ok(Self::After),
            other => Err(de::Error::invalid_value(
                de::Unexpected::Str(other),
                &"before (the request reaches the child) or after (the child carried it out)",
            )),
        }
    }
}

/// A value that is written as text, or as a number where JSON has them.
struct Word<T>(T);

struct WordVisitor<T>(std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err: fmt::Display>> Visitor<'_> for WordVisitor<T> {
    type Value = Word<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word<T>, E> {
        text.parse().map(Word).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Word<T>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word<T>, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de, T: std::str::FromStr<Err: fmt::Display>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor(std::marker::PhantomData))
    }
}
