//! `zblk create`

use crate::cli::bytes;
use crate::error::{Failure, Result};
use crate::output::Output;
use crate::output::units::{count, size};
use block_backend::ErrorKind;
use block_backend::image::{CreateOptions, Created, GeometryConfig, create_zoned};
use clap::Args;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

const EXAMPLES: &str = "\
The file is sparse: it takes up only what is written to it. If the size is no multiple of the zone
size, the last zone is smaller.

Examples:
  zblk create disk.zbd --size 1G --zone-size 16M
  zblk create zns.zbd --size 8G --zone-size 128M --zone-capacity 96M --max-open 8 --max-active 16
  zblk create smr.zbd --size 14T --zone-size 256M --conventional 512
  zblk create bad.zbd --size 64M --zone-size 4M --read-only-zones 3 --offline-zones 4,10-12";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// The file to make
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// How much the device holds, in bytes, for example 1G
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    size: u64,

    /// Distance from one zone to the next, in bytes: any multiple of the block size, for example 16M
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    zone_size: u64,

    /// How much of each sequential zone can be written, in bytes [default: the zone size]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    zone_capacity: Option<u64>,

    /// How many zones are conventional, from the first on: they take writes anywhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    conventional: u64,

    /// How many zones may be open at once; 0 = no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_open: u32,

    /// How many zones may be open or closed, neither empty nor full, at once; 0 = no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_active: u32,

    /// What every write must be a multiple of, in bytes: 512, 4096 or another power of two
    #[arg(long, value_name = "SIZE", default_value = "4096", value_parser = block_size)]
    block_size: u32,

    /// Zones that shall be read-only, for tests: numbers and ranges, for example 3,5-7
    #[arg(long, value_name = "LIST", value_parser = zones, default_value = "", hide_default_value = true)]
    read_only_zones: ZoneList,

    /// Zones that shall be offline, for tests: numbers and ranges, for example 8,10-12
    #[arg(long, value_name = "LIST", value_parser = zones, default_value = "", hide_default_value = true)]
    offline_zones: ZoneList,

    /// Overwrite the file if there is one: what it holds is lost
    #[arg(long)]
    force: bool,
}

/// Numbers of zones, as ranges.
#[derive(Clone, Debug)]
struct ZoneList(Vec<RangeInclusive<u64>>);

#[derive(Serialize)]
struct CreateObject {
    path: String,
    length: u64,
    block_size: u32,
    zone_size: u64,
    zone_capacity: u64,
    nr_zones: u64,
    conventional_zones: u64,
    max_open_zones: u32,
    max_active_zones: u32,
    unreachable_zones: u64,
}

pub(crate) async fn run(args: &CreateArgs, output: &Output) -> Result<()> {
    let options = CreateOptions {
        geometry: GeometryConfig {
            size: args.size,
            zone_size: args.zone_size,
            zone_capacity: args.zone_capacity,
            conventional: args.conventional,
            block_size: args.block_size,
            max_open: args.max_open,
            max_active: args.max_active,
        },
        read_only_zones: args.expand("--read-only-zones", &args.read_only_zones)?,
        offline_zones: args.expand("--offline-zones", &args.offline_zones)?,
    };
    let created = create_zoned(&args.path, &options, args.force).await?;
    let object = args.object(created);
    output.result(&object, || object.text())
}

impl CreateArgs {
    /// The single numbers of a list, which are no more than the device has zones.
    fn expand(&self, option: &str, list: &ZoneList) -> Result<Vec<u64>> {
        // A zone size of 0 is refused later, with its own words.
        let zones = self.size.div_ceil(self.zone_size.max(1));
        let beyond = list.0.iter().map(|range| *range.end()).find(|z| *z >= zones);
        if let Some(zone) = beyond {
            let message = format!(
                "{option}: there is no zone {zone}; the device has {}, numbered from 0",
                count(zones, "zone")
            );
            return Err(Failure::of(&ErrorKind::InvalidOption(String::new()), message));
        }
        Ok(list.0.iter().cloned().flatten().collect())
    }

    fn object(&self, created: Created) -> CreateObject {
        CreateObject {
            path: self.path.display().to_string(),
            length: self.size,
            block_size: self.block_size,
            zone_size: self.zone_size,
            zone_capacity: self.zone_capacity.unwrap_or(self.zone_size),
            nr_zones: created.nr_zones,
            conventional_zones: self.conventional,
            // An open zone is active, so the limit of active zones is one of open zones too.
            max_open_zones: if self.max_open == 0 { self.max_active } else { self.max_open },
            max_active_zones: self.max_active,
            unreachable_zones: created.unreachable_zones,
        }
    }
}

impl CreateObject {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} in {} of {}",
            self.path,
            size(self.length),
            count(self.nr_zones, "zone"),
            size(self.zone_size)
        );
        if self.zone_capacity != self.zone_size {
            text.push_str(&format!(", {} of each writable", size(self.zone_capacity)));
        }
        if self.conventional_zones > 0 {
            text.push_str(&format!(", {} conventional", self.conventional_zones));
        }
        text.push('\n');
        if self.unreachable_zones > 0 {
            text.push_str(&format!(
                "The file system holds no file that long: writes to the last {} will fail.\n",
                count(self.unreachable_zones, "zone")
            ));
        }
        text
    }
}

fn block_size(text: &str) -> Result<u32, String> {
    u32::try_from(bytes(text)?).map_err(|_| "a block size is at most 64k".to_owned())
}

fn zones(text: &str) -> Result<ZoneList, String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("'{text}' is not a zone's number; give a list such as 3,5-7"))
    };
    let items = text.split(',').filter(|item| !item.is_empty());
    let ranges = items.map(|item| match item.split_once('-') {
        None => number(item).map(|zone| zone..=zone),
        Some((first, last)) => {
            let range = number(first)?..=number(last)?;
            match range.is_empty() {
                true => Err(format!("'{item}' ends before it begins")),
                false => Ok(range),
            }
        }
    });
    ranges.collect::<Result<_, _>>().map(ZoneList)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_zones_take_numbers_and_ranges() {
        assert_eq!(zones("3,5-7").unwrap().0, [3..=3, 5..=7]);
        assert!(zones("").unwrap().0.is_empty());
        for bad in ["x", "3-", "-3", "7-5", "1-2-3", "0x3", "99999999999999999999"] {
            assert!(zones(bad).is_err(), "{bad}");
        }
    }
}
