//! Trees of nodes, drawn with lines.

/// A node to draw: its text, and what stands below.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) text: String,
    pub(crate) children: Vec<Tree>,
}

impl Tree {
    /// The tree, one line per node.
    pub(crate) fn show(&self) -> String {
        let mut out = format!("{}\n", self.text);
        self.below("", &mut out);
        out
    }

    fn below(&self, indent: &str, out: &mut String) {
        let mut children = self.children.iter().peekable();
        while let Some(child) = children.next() {
            let (branch, line) = match children.peek() {
                Some(_) => ("├─ ", "│  "),
                None => ("└─ ", "   "),
            };
            out.push_str(&format!("{indent}{branch}{}\n", child.text));
            child.below(&format!("{indent}{line}"), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_siblings_and_end_with_the_last() {
        let leaf = |text: &str| Tree { text: text.to_owned(), children: Vec::new() };
        let mut middle = leaf("b");
        middle.children = vec![leaf("c")];
        let mut root = leaf("a");
        root.children = vec![middle, leaf("d")];
        assert_eq!(root.show(), "a\n├─ b\n│  └─ c\n└─ d\n");
    }
}
