//! `zblk report`

use crate::cli::{ImageArgs, bytes};
use crate::error::Result;
use crate::image::Access;
use crate::output::Output;
use crate::output::style::{FAINT, of_condition};
use crate::output::table::{Align, Table};
use crate::output::units::size;
use anstyle::Style;
use block_backend::{BlockBackend, Zone, ZoneType};
use clap::Args;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  zblk report disk.zbd                          all zones
  zblk report disk.zbd --offset 32M --count 1   the zone that holds this byte
  zblk report disk.zbd --json | jq '.zones[] | select(.condition == \"full\") | .start'";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Begin with the zone that holds this byte
    #[arg(long, value_name = "OFFSET", value_parser = bytes, default_value = "0")]
    offset: u64,

    /// Show this many zones at most [default: all]
    #[arg(long, value_name = "N")]
    count: Option<usize>,

    /// Show all sizes in bytes, exactly, as 0x numbers
    #[arg(long)]
    bytes: bool,
}

#[derive(Serialize)]
struct ReportObject {
    zones: Vec<ZoneObject>,
}

#[derive(Serialize)]
struct ZoneObject {
    start: u64,
    length: u64,
    capacity: u64,
    write_pointer: Option<u64>,
    #[serde(rename = "type")]
    zone_type: &'static str,
    condition: &'static str,
}

pub(crate) async fn run(args: &ReportArgs, output: &Output) -> Result<()> {
    let work = async |backend: &BlockBackend| {
        let most = args.count.unwrap_or(usize::MAX);
        let zones = backend.report_zones(args.offset, most).await?;
        Ok((zones, backend.zoned().map_or(0, |zoned| zoned.zone_size)))
    };
    let (zones, zone_size) = args.image.with(Access::Read, work).await?;
    let object = ReportObject { zones: zones.iter().map(ZoneObject::new).collect() };
    output.result(&object, || table(&zones, zone_size, args.bytes).show(output.color()))
}

impl ZoneObject {
    fn new(zone: &Zone) -> Self {
        Self {
            start: zone.start,
            length: zone.length,
            capacity: zone.capacity,
            write_pointer: zone.write_pointer,
            zone_type: zone.zone_type.name(),
            condition: zone.condition.name(),
        }
    }
}

fn table(zones: &[Zone], zone_size: u64, exact: bool) -> Table {
    let mut table = Table::new(&[
        ("ZONE", Align::Right),
        ("START", Align::Right),
        ("LENGTH", Align::Right),
        ("CAPACITY", Align::Right),
        ("USED", Align::Right),
        ("WRITE POINTER", Align::Right),
        ("TYPE", Align::Left),
        ("CONDITION", Align::Left),
    ]);
    let plain = Style::new();
    let amount = |bytes| match exact {
        true => format!("{bytes:#x}"),
        false => size(bytes),
    };
    for zone in zones {
        let used = zone.write_pointer.map(|at| {
            // The write pointer of a full zone is at its end, wherever the data ends.
            at.min(zone.writable_end()).saturating_sub(zone.start)
        });
        table.cell(plain, zone.start.checked_div(zone_size).unwrap_or(0));
        table.cell(plain, format_args!("{:#x}", zone.start));
        table.cell(plain, amount(zone.length));
        table.cell(plain, amount(zone.capacity));
        match used {
            Some(used) => table.cell(plain, amount(used)),
            None => table.cell(FAINT, "-"),
        }
        match zone.write_pointer {
            Some(at) => table.cell(plain, format_args!("{at:#x}")),
            None => table.cell(FAINT, "-"),
        }
        table.cell(plain, short_type(zone.zone_type));
        table.cell(of_condition(zone.condition), zone.condition.name());
    }
    table
}

/// The full names would fill a terminal's line.
const fn short_type(zone_type: ZoneType) -> &'static str {
    match zone_type {
        ZoneType::Conventional => "conventional",
        ZoneType::SequentialWriteRequired => "sequential",
        ZoneType::SequentialWritePreferred => "preferred",
    }
}
