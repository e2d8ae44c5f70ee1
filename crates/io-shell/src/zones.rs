//! The zone commands.

use crate::args::Args;
use crate::number::{parse_bytes, parse_pattern};
use crate::pattern;
use crate::stop::Stop;
use crate::transfer::{DEFAULT_PATTERN, range, vector};
use block_backend::BlockBackend;
use block_core::{RequestFlags, Zone, ZoneOp};
use std::io::Write;

/// How many zones are asked for at once.
const PIECE: u64 = 1024;
const SECTOR: u64 = 512;

/// `zone_report`: a line for each zone, in sectors.
pub(crate) async fn report(
    backend: &BlockBackend,
    args: &Args<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let [offset, number] = args.operands.as_slice() else { return Err(Stop::Usage(None)) };
    let offset = parse_bytes(offset)?;
    let number = parse_bytes(number)?;
    if number > u64::from(u32::MAX) {
        return Err(Stop::Text("Number of zones must be less than 2^32".to_owned()));
    }
    each_piece(backend, offset, number, |zones| {
        for z in zones {
            writeln!(
                out,
                "start: {:#x}, len {:#x}, cap {:#x}, wptr {:#x}, zcond:{}, [type: {}]",
                z.start / SECTOR,
                z.length / SECTOR,
                z.capacity / SECTOR,
                z.write_pointer.unwrap_or(z.end()) / SECTOR,
                z.condition.code(),
                z.zone_type.code(),
            )?;
        }
        Ok(())
    })
    .await
}

/// `report`: a table in bytes.
pub(crate) async fn table(
    backend: &BlockBackend,
    args: &Args<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let mut numbers = args.operands.iter().map(|text| parse_bytes(text));
    let offset = numbers.next().transpose()?.unwrap_or(0);
    let number = numbers.next().transpose()?.unwrap_or(u64::MAX);
    let mut head = true;
    each_piece(backend, offset, number, |zones| {
        if std::mem::take(&mut head) {
            writeln!(
                out,
                "{:>16} {:>14} {:>14} {:>16}  {:26} condition",
                "start", "length", "capacity", "write pointer", "type"
            )?;
        }
        for z in zones {
            let pointer = z.write_pointer.map_or_else(|| "-".to_owned(), |wp| format!("{wp:#x}"));
            writeln!(
                out,
                "{:#16x} {:#14x} {:#14x} {pointer:>16}  {:26} {}",
                z.start, z.length, z.capacity, z.zone_type, z.condition
            )?;
        }
        Ok(())
    })
    .await
}

/// Gives up to `number` zones, from the one that holds `offset` on, to `print`, some at a time.
async fn each_piece(
    backend: &BlockBackend,
    offset: u64,
    number: u64,
    mut print: impl FnMut(&[Zone]) -> std::io::Result<()>,
) -> Result<(), Stop> {
    let mut left = number;
    let mut at = offset;
    loop {
        let max = usize::try_from(left.min(PIECE)).unwrap_or(0);
        let zones =
            backend.report_zones(at, max).await.map_err(|e| Stop::Block("zone report", e))?;
        print(&zones)?;
        left = left.saturating_sub(u64::try_from(zones.len()).unwrap_or(u64::MAX));
        match zones.last().map(Zone::end) {
            Some(end) if left > 0 && end > at => at = end,
            _ => return Ok(()),
        }
    }
}

/// `zone_open`, `zone_close`, `zone_finish`, `zone_reset`.
pub(crate) async fn manage(
    backend: &BlockBackend,
    op: ZoneOp,
    args: &Args<'_>,
) -> Result<(), Stop> {
    let (offset, len) = range(args)?;
    let name = block_core::node::manage_name(op);
    backend.manage_zones(op, offset, len).await.map_err(|e| Stop::Block(name, e))
}

/// `zone_append`.
pub(crate) async fn append(
    backend: &BlockBackend,
    args: &Args<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Stop> {
    let byte = args.value('P').map(parse_pattern).transpose()?.unwrap_or(DEFAULT_PATTERN);
    let (offset, lengths) = vector(args, "zone_append")?;
    let mut flags = RequestFlags::empty();
    flags.set(RequestFlags::FUA, args.has('f'));
    let bufs = pattern::filled(backend, byte, &lengths);
    let position = backend
        .append_with(offset, bufs, flags)
        .await
        .map_err(|e| Stop::Block("zone append", e))?;
    if args.has('p') && !args.has('q') {
        writeln!(out, "After zap done, the append sector is {:#x}", position / SECTOR)?;
    }
    Ok(())
}
