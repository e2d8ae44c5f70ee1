//! Aligned tables.

use super::style::HEADER;
use anstyle::Style;
use std::fmt::{Display, Write as _};

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with one line of titles above its rows. All text lies in one piece of memory: a table of
/// 100,000 zones has 800,000 cells.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    text: String,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Column {
    align: Align,
    /// Characters of its longest cell.
    width: usize,
}

#[derive(Debug)]
struct Cell {
    /// Where its text ends; it begins where that of the cell before ends.
    end: usize,
    width: usize,
    style: Style,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        let aligned = columns.iter().map(|(_, align)| Column { align: *align, width: 0 });
        let mut table = Self { columns: aligned.collect(), text: String::new(), cells: Vec::new() };
        for (title, _) in columns {
            table.cell(HEADER, title);
        }
        table
    }

    /// Adds a cell to the row; the row is full when there are as many as columns.
    pub(crate) fn cell(&mut self, style: Style, text: impl Display) {
        let start = self.text.len();
        // Writing to a string does not fail.
        let _ = write!(self.text, "{text}");
        let width = self.text.get(start..).map_or(0, |text| text.chars().count());
        let place = self.cells.len().checked_rem(self.columns.len());
        if let Some(column) = place.and_then(|place| self.columns.get_mut(place)) {
            column.width = column.width.max(width);
        }
        self.cells.push(Cell { end: self.text.len(), width, style });
    }

    /// The whole table, one line per row, without blanks at the ends of lines.
    pub(crate) fn show(&self, color: bool) -> String {
        let mut out = String::with_capacity(self.text.len().saturating_mul(2));
        let mut start = 0;
        for row in self.cells.chunks(self.columns.len().max(1)) {
            let mut gap = 0;
            for (cell, column) in row.iter().zip(&self.columns) {
                let blank = column.width.saturating_sub(cell.width);
                let (before, after) = match column.align {
                    Align::Left => (0, blank),
                    Align::Right => (blank, 0),
                };
                out.extend(std::iter::repeat_n(' ', gap + before));
                let text = self.text.get(start..cell.end).unwrap_or_default();
                match color {
                    true => drop(write!(out, "{0}{text}{0:#}", cell.style)),
                    false => out.push_str(text),
                }
                start = cell.end;
                gap = after + 2;
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let mut table = Table::new(&[("n", Align::Right), ("name", Align::Left)]);
        for text in ["1", "a", "100", "longer"] {
            table.cell(Style::new(), text);
        }
        assert_eq!(table.show(false), "  n  name\n  1  a\n100  longer\n");
    }
}
