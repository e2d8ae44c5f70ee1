//! `zblk check`

use crate::error::{FAILED, Failure, Result};
use crate::output::Output;
use crate::output::style::{BAD, GOOD, paint};
use crate::output::units::count;
use block_backend::ErrorKind;
use block_backend::image::{CheckReport, check_zoned};
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Headers, both copies of the zone table, checksums and the file's length are verified. A repair
writes good copies over bad ones, and never changes a byte of data. The exit code is 1 if damage
is left.

Examples:
  zblk check disk.zbd
  zblk check disk.zbd --repair";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The image's path, or the options of its node
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Repair what can be repaired
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct CheckObject<'a> {
    zones: u64,
    pages: u64,
    /// Whether the image was closed cleanly.
    clean: bool,
    /// Whether nothing is wrong any more.
    sound: bool,
    findings: Vec<FindingObject<'a>>,
}

#[derive(Serialize)]
struct FindingObject<'a> {
    problem: &'a str,
    meaning: &'a str,
    repaired: Option<&'a str>,
}

pub(crate) async fn run(args: &CheckArgs, output: &Output) -> Result<ExitCode> {
    let report = check_zoned(&args.image, args.repair).await.map_err(|error| {
        // Such an error speaks of "the image"; all others name what they speak of.
        let about_content = matches!(error.kind(), ErrorKind::InvalidImage(_));
        let failure = Failure::from(error);
        if about_content { failure.because(&format!("'{}'", args.image)) } else { failure }
    })?;
    let object = CheckObject {
        zones: report.zones,
        pages: report.pages,
        clean: report.clean,
        sound: report.is_sound(),
        findings: report
            .findings
            .iter()
            .map(|finding| FindingObject {
                problem: &finding.problem,
                meaning: &finding.meaning,
                repaired: finding.repaired.as_deref(),
            })
            .collect(),
    };
    output.result(&object, || text(&report, args.repair, output.color()))?;
    Ok(match report.is_sound() {
        true => ExitCode::SUCCESS,
        false => FAILED.into(),
    })
}

fn text(report: &CheckReport, repair: bool, color: bool) -> String {
    let mut out = format!(
        "{}, {} of metadata{}\n",
        count(report.zones, "zone"),
        count(report.pages, "page"),
        match report.clean {
            true => "",
            false => ", not closed cleanly (which loses nothing that a flush had promised)",
        }
    );
    for finding in &report.findings {
        let problem = paint(color, BAD, &finding.problem);
        out.push_str(&format!("\n{problem}\n  {}\n", finding.meaning));
        if let Some(repaired) = &finding.repaired {
            out.push_str(&format!("  {}\n", paint(color, GOOD, repaired)));
        }
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    out.push_str(&match (report.findings.is_empty(), report.is_sound()) {
        (true, _) => paint(color, GOOD, "The image is sound."),
        (false, true) => paint(color, GOOD, "All damage is repaired."),
        (false, false) if repair => paint(color, BAD, "Not all damage could be repaired."),
        (false, false) => format!(
            "{} `zblk check --repair` repairs it.",
            paint(color, BAD, "The image is damaged.")
        ),
    });
    out.push('\n');
    out
}
