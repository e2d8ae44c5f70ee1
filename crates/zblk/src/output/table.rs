//! Aligned tables.

use super::style::{HEADER, paint};
use anstyle::Style;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with one line of titles above its rows.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

/// A cell's text and style.
pub(crate) type Cell = (String, Style);

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The whole table, one line per row, without blanks at the ends of lines.
    pub(crate) fn show(&self, color: bool) -> String {
        let titles = self.columns.iter().map(|(title, _)| title.chars().count());
        let widths: Vec<usize> = titles
            .enumerate()
            .map(|(i, title)| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                cells.map(|(text, _)| text.chars().count()).fold(title, usize::max)
            })
            .collect();
        let header = self.columns.iter().map(|(title, _)| ((*title).to_owned(), HEADER)).collect();
        let mut out = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            out.push_str(&self.line(row, &widths, color));
            out.push('\n');
        }
        out
    }

    fn line(&self, row: &[Cell], widths: &[usize], color: bool) -> String {
        let mut line = String::new();
        let mut gap = 0;
        for ((text, style), ((_, align), width)) in row.iter().zip(self.columns.iter().zip(widths))
        {
            let blank = width.saturating_sub(text.chars().count());
            let (before, after) = match align {
                Align::Left => (0, blank),
                Align::Right => (blank, 0),
            };
            line.extend(std::iter::repeat_n(' ', gap + before));
            line.push_str(&paint(color, *style, text));
            gap = after + 2;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let plain = |s: &str| (s.to_owned(), Style::new());
        let mut table = Table::new(&[("n", Align::Right), ("name", Align::Left)]);
        table.row(vec![plain("1"), plain("a")]);
        table.row(vec![plain("100"), plain("longer")]);
        assert_eq!(table.show(false), "  n  name\n  1  a\n100  longer\n");
    }
}
