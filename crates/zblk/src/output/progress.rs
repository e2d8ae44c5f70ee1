//! How far long work has got, on a terminal.

use super::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};
use std::fmt::Write;

/// Work on fewer bytes than this is over before a bar would be read.
const WORTH_SHOWING: u64 = 64 << 20;

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta}";
const BYTES_UNKNOWN: &str = "{msg} {spinner} {bytes}  {binary_bytes_per_sec}";

/// A bar for bytes of which the number may be unknown, on standard error. It is hidden where that is
/// no terminal, and with `--json`.
pub(crate) fn of_bytes(output: &Output, doing: &'static str, total: Option<u64>) -> ProgressBar {
    let small = total.is_some_and(|total| total < WORTH_SHOWING);
    if output.json || small {
        return ProgressBar::hidden();
    }
    let template = if total.is_some() { BYTES } else { BYTES_UNKNOWN };
    bar(total, template).with_message(doing)
}

const REQUESTS: &str = "{wide_bar} {human_pos}/{human_len}  {rate}  {eta}";
const REQUESTS_UNKNOWN: &str = "{spinner} {human_pos}  {rate}  {elapsed}";

/// A bar for requests, as [`of_bytes`].
pub(crate) fn of_requests(output: &Output, total: Option<u64>) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    bar(total, if total.is_some() { REQUESTS } else { REQUESTS_UNKNOWN })
}

fn bar(total: Option<u64>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr())
        .with_finish(ProgressFinish::AndClear);
    // The templates are ours; a bar in the default style would do too.
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A bar that cannot be drawn is no failure.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}
