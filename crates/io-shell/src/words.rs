//! A line as words.

/// Splits a line at blanks. Between `'…'` or `"…"` blanks belong to the word; there is no escape
/// sign.
///
/// # Errors
/// What to tell the user about a quote without an end.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(q) = quote {
        return Err(format!("missing {q} at the end of a quoted word"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn blanks_part_words_and_quotes_join_them() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            (" \t ", &[]),
            ("read 0 1", &["read", "0", "1"]),
            ("  read\t 0   1 ", &["read", "0", "1"]),
            ("write -s 'a file' 0", &["write", "-s", "a file", "0"]),
            ("a\"b 'c\"d '' \"\"", &["ab 'cd", "", ""]),
            ("ä 🦀", &["ä", "🦀"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn a_quote_without_an_end_is_an_error() {
        assert_eq!(split("read '0 1").unwrap_err(), "missing ' at the end of a quoted word");
        assert!(split("\"").is_err());
    }
}
