//! Options and operands of a command.

use crate::stop::Stop;

/// What was given to a command, options parted from operands as getopt does: options may stand
/// anywhere, `--` ends them, `-qv` is two of them, `-P1` is one with its value.
#[derive(Debug, Default)]
pub(crate) struct Args<'a> {
    options: Vec<(char, &'a str)>,
    pub(crate) operands: Vec<&'a str>,
}

impl<'a> Args<'a> {
    /// Takes words apart. `known` lists the options, each followed by `:` if it has a value;
    /// `None` for a command that has no options, where `-1` is an operand.
    pub(crate) fn parse(
        name: &str,
        words: &'a [String],
        known: Option<&str>,
    ) -> Result<Self, Stop> {
        let mut args = Self::default();
        let mut words = words.iter().map(String::as_str);
        let mut only_operands = known.is_none();
        while let Some(word) = words.next() {
            if !only_operands && word == "--" {
                only_operands = true;
                continue;
            }
            let mut letters = match word.strip_prefix('-') {
                Some(letters) if !only_operands && !letters.is_empty() => letters,
                _ => {
                    args.operands.push(word);
                    continue;
                }
            };
            while let Some(letter) = letters.chars().next() {
                letters = letters.get(letter.len_utf8()..).unwrap_or_default();
                match takes_value(known.unwrap_or_default(), letter) {
                    None => {
                        return Err(Stop::Usage(Some(format!(
                            "{name}: invalid option -- '{letter}'"
                        ))));
                    }
                    Some(false) => args.options.push((letter, "")),
                    Some(true) => {
                        let attached = std::mem::take(&mut letters);
                        let value = if attached.is_empty() { words.next() } else { Some(attached) };
                        let value = value.ok_or_else(|| {
                            Stop::Usage(Some(format!(
                                "{name}: option requires an argument -- '{letter}'"
                            )))
                        })?;
                        args.options.push((letter, value));
                    }
                }
            }
        }
        Ok(args)
    }

    /// Whether an option was given.
    pub(crate) fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(l, _)| *l == letter)
    }

    /// An option's value; the last one counts.
    pub(crate) fn value(&self, letter: char) -> Option<&'a str> {
        self.options.iter().rev().find(|(l, _)| *l == letter).map(|(_, value)| *value)
    }
}

/// Whether a known option takes a value; `None` for an unknown one.
fn takes_value(known: &str, letter: char) -> Option<bool> {
    if letter == ':' {
        return None;
    }
    let at = known.find(letter)?;
    let rest = known.get(at..)?.get(letter.len_utf8()..)?;
    Some(rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, known: Option<&str>) -> String {
        let words = crate::words::split(line).unwrap();
        match Args::parse("cmd", &words, known) {
            Ok(args) => format!("{:?} {:?}", args.options, args.operands),
            Err(Stop::Usage(Some(text))) => text,
            Err(_) => "other".to_owned(),
        }
    }

    #[test]
    fn options_stand_anywhere_and_join() {
        let known = Some("qvP:");
        assert_eq!(parse("0 -qv 1", known), r#"[('q', ""), ('v', "")] ["0", "1"]"#);
        assert_eq!(parse("-P 1 -P2 0", known), r#"[('P', "1"), ('P', "2")] ["0"]"#);
        assert_eq!(parse("-qP1 - -- -v", known), r#"[('q', ""), ('P', "1")] ["-", "-v"]"#);
        assert_eq!(parse("-1 --", None), r#"[] ["-1", "--"]"#);
    }

    #[test]
    fn wrong_options_are_named() {
        let known = Some("qvP:");
        assert_eq!(parse("-1 5", known), "cmd: invalid option -- '1'");
        assert_eq!(parse("-q:", known), "cmd: invalid option -- ':'");
        assert_eq!(parse("-é", known), "cmd: invalid option -- 'é'");
        assert_eq!(parse("0 -P", known), "cmd: option requires an argument -- 'P'");
    }
}
