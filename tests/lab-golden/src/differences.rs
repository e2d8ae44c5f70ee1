//! The written list of deliberate differences.

use std::collections::BTreeMap;

/// Names with their reasons.
#[derive(Debug, Default)]
pub struct Differences(BTreeMap<String, String>);

impl Differences {
    /// Reads the list: a name at the start of a line, and under it, indented, the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut name = String::new();
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with(' ') {
                let reason = found.get_mut(&name);
                let reason = reason.ok_or(format!("line {number}: a reason without a name"))?;
                reason.push_str(line.trim());
                reason.push(' ');
                continue;
            }
            name = line.to_owned();
            if found.insert(name.clone(), String::new()).is_some() {
                return Err(format!("line {number}: '{name}' is there twice"));
            }
        }
        match found.iter().find(|(_, reason)| reason.is_empty()) {
            Some((name, _)) => Err(format!("'{name}' has no reason")),
            None => Ok(Self(found)),
        }
    }

    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_reason() {
        let list = Differences::parse("# List\n\na-name\n  Because.\n  So.\nother\n  Why.\n");
        let list = list.unwrap();
        assert!(list.knows("a-name") && !list.knows("Because."));
        assert_eq!(list.names().collect::<Vec<_>>(), ["a-name", "other"]);
        for (text, complaint) in [
            ("a\n", "'a' has no reason"),
            ("  Because.\n", "line 1: a reason without a name"),
            ("a\n  B.\na\n  C.\n", "line 3: 'a' is there twice"),
        ] {
            assert_eq!(Differences::parse(text).unwrap_err(), complaint);
        }
    }
}
