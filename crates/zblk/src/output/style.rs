//! Colours, and what they mean.

use anstyle::{AnsiColor, Style};
use block_backend::ZoneCondition;

pub(crate) const HEADER: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Open zones stand out most, as they use up what is scarce; then what takes no data.
pub(crate) const fn of_condition(condition: ZoneCondition) -> Style {
    match condition {
        ZoneCondition::NotWritePointer | ZoneCondition::Empty => FAINT,
        ZoneCondition::ImplicitOpen => AnsiColor::Green.on_default(),
        ZoneCondition::ExplicitOpen => AnsiColor::Green.on_default().bold(),
        ZoneCondition::Closed => AnsiColor::Cyan.on_default(),
        ZoneCondition::Full => AnsiColor::Blue.on_default(),
        ZoneCondition::ReadOnly => AnsiColor::Yellow.on_default(),
        ZoneCondition::Offline => BAD,
    }
}

/// The text in this style, or as it is.
pub(crate) fn paint(color: bool, style: Style, text: &str) -> String {
    match color {
        true => format!("{style}{text}{style:#}"),
        false => text.to_owned(),
    }
}
