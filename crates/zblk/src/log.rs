//! Messages of the layers below, on standard error.

use crate::cli::{Cli, Command};
use crate::output::Output;
use crate::output::style::{WARNING, paint};
use std::fmt;
use std::io;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The variable that says what is told, in the syntax of `RUST_LOG`.
const VARIABLE: &str = "ZBLK_LOG";

/// Starts telling: warnings, or what `-v` and the environment ask for.
pub(crate) fn start(cli: &Cli, output: &Output) {
    let from_environment = EnvFilter::try_from_env(VARIABLE).ok();
    let verbose = cli.global.verbose > 0 || from_environment.is_some();
    let filter = from_environment.unwrap_or_else(|| {
        let level = match cli.global.verbose {
            // A check says itself what is wrong; with --json standard error is for the object.
            0 if cli.global.json || matches!(cli.command, Command::Check(_)) => LevelFilter::ERROR,
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        EnvFilter::default().add_directive(level.into())
    });
    let color = output.color_errors();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(color);
    // Fails only if somebody else in this process tells already.
    let _ = match verbose {
        false => log.event_format(Plain { color }).try_init(),
        true => log.with_span_events(FmtSpan::CLOSE).compact().try_init(),
    };
}

/// A warning as the user of a command likes to read it.
struct Plain {
    color: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let level = if level == "warn" { "warning" } else { &level };
        write!(writer, "zblk: {}: ", paint(self.color, WARNING, level))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
