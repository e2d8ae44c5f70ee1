//! `zblk append`

use crate::cli::{ImageArgs, bytes};
use crate::error::{Extent, Failure, Result};
use crate::image::{Access, Whole};
use crate::input::{self, Input};
use crate::output::{Output, progress};
use block_backend::{BlockBackend, ErrorKind, IoVec, Zone, ZoneCondition, ZonedLimits};
use clap::Args;
use serde::Serialize;

/// Bytes appended in one piece, if the input is long.
const PIECE: u64 = 1 << 20;

const EXAMPLES: &str = "\
Prints the position of the first byte, in bytes. If the length of the input is known beforehand (a
file, or at most 8 MiB), it is checked against the zone before anything is appended. After an error
on the way, what landed before it stays and is told.

With --span the data goes on in the following zones; those that take none (full, read-only,
offline, conventional) are left out. One line per piece then gives its position and length.

Examples:
  zblk append disk.zbd 32M < record
  position=$(head -c 4k /dev/urandom | zblk append disk.zbd 0x2000000)
  tar c photos | dd bs=4k conv=sync | zblk append disk.zbd 32M --span";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// Start of the zone, in bytes, for example 0x2000000 or 32M
    #[arg(value_name = "ZONE_OFFSET", value_parser = bytes)]
    zone: u64,

    /// Go on in the next zones when the zone is full
    #[arg(long)]
    span: bool,
}

#[derive(Serialize)]
struct AppendObject {
    position: u64,
    length: u64,
    extents: Vec<Extent>,
}

pub(crate) async fn run(args: &AppendArgs, output: &Output) -> Result<()> {
    let work = async |backend: &BlockBackend| append(backend, args, output).await;
    let extents = args.image.with(Access::Write, work).await?;
    let object = AppendObject {
        position: extents.first().map_or(args.zone, |e| e.position),
        length: total(&extents),
        extents,
    };
    output.result(&object, || {
        if !args.span {
            return format!("{}\n", object.position);
        }
        let lines = object.extents.iter();
        lines.map(|extent| format!("{} {}\n", extent.position, extent.length)).collect()
    })
}

async fn append(backend: &BlockBackend, args: &AppendArgs, output: &Output) -> Result<Vec<Extent>> {
    let mut whole = Whole { backend, op: "append", offset: args.zone, len: 0 };
    let limits = check_start(&whole)?;
    let mut places = Places::new(&whole, args.span).await?;
    let input = Input::open(backend, piece_len(&limits)).await?;
    if let Some(len) = input.length() {
        whole.len = len;
        whole.check_multiple("length", len, limits.write_granularity.into())?;
        places.check_room(&whole)?;
    }
    let one_request = limits.max_append_bytes == 0 || whole.len <= limits.max_append_bytes;
    let mut input = if one_request && !args.span {
        match input.into_whole() {
            Ok(bufs) => {
                places.append(bufs).await?;
                return Ok(places.extents);
            }
            Err(input) => input,
        }
    } else {
        input
    };
    let bar = progress::of_bytes(output, "appending", input.length());
    loop {
        let piece = input.next().await.map_err(|f| f.after(places.done()))?;
        let Some(piece) = piece else { break };
        let len = input::len(&piece);
        let landed = places.append(piece.into()).await;
        landed.map_err(|failure| failure.after(places.done()))?;
        bar.inc(len);
    }
    Ok(places.extents)
}

/// Refuses what no input could make right.
fn check_start(whole: &Whole<'_>) -> Result<ZonedLimits> {
    let Some(limits) = whole.backend.zoned() else {
        return Err(whole.refuse(ErrorKind::NotZoned).into());
    };
    whole.check_writable()?;
    whole.check_multiple("zone offset", whole.offset, limits.zone_size)?;
    Ok(*limits)
}

fn piece_len(limits: &ZonedLimits) -> u64 {
    let granularity = u64::from(limits.write_granularity).max(1);
    let most = match limits.max_append_bytes {
        0 => PIECE,
        limit => PIECE.min(limit),
    };
    let blocks = most.checked_div(granularity).unwrap_or(0).max(1);
    blocks.saturating_mul(granularity)
}

/// The zones that data goes to, and what went there.
struct Places<'a> {
    backend: &'a BlockBackend,
    span: bool,
    /// Where the search for room begins.
    start: u64,
    /// The zones still to fill, the present one last.
    zones: Vec<Zone>,
    /// How much the present zone takes.
    room: u64,
    extents: Vec<Extent>,
    /// Whether the last extent lies in the present zone.
    begun: bool,
}

impl<'a> Places<'a> {
    async fn new(whole: &Whole<'a>, span: bool) -> Result<Self> {
        let most = if span { usize::MAX } else { 1 };
        let mut zones = whole.backend.report_zones(whole.offset, most).await?;
        if span {
            if let Some(first) = zones.first().filter(|z| !z.zone_type.is_sequential()) {
                let zone = whole.id_of(first);
                return Err(whole.refuse(ErrorKind::ConventionalZone { zone }).into());
            }
            zones.retain(|zone| room_of(zone) > 0);
        }
        zones.reverse();
        Ok(Self {
            backend: whole.backend,
            span,
            start: whole.offset,
            room: zones.last().map_or(0, room_of),
            zones,
            extents: Vec::new(),
            begun: false,
        })
    }

    /// Refuses what does not fit. Why a zone takes nothing at all is for the append to say.
    fn check_room(&self, whole: &Whole<'_>) -> Result<()> {
        let length = self.backend.length();
        if self.span && self.start >= length {
            return Err(whole.refuse(ErrorKind::OutOfRange { length }).into());
        }
        let remaining = self.zones.iter().map(room_of).fold(0, u64::saturating_add);
        if whole.len <= remaining {
            return Ok(());
        }
        match self.zones.last() {
            Some(zone) if !self.span && remaining > 0 => {
                let kind =
                    ErrorKind::ZoneFull { zone: whole.id_of(zone), needed: whole.len, remaining };
                Err(whole.refuse(kind).into())
            }
            _ if !self.span => Ok(()),
            _ => Err(no_room(whole.offset, whole.len, remaining)),
        }
    }

    /// Appends to one zone, or over as many as it takes.
    async fn append(&mut self, bufs: IoVec) -> Result<()> {
        if !self.span {
            return self.append_here(bufs).await;
        }
        let mut rest = bufs;
        while !rest.is_empty() {
            if self.room == 0 {
                self.zones.pop();
                self.begun = false;
                self.room = self.zones.last().map_or(0, room_of);
                if self.zones.is_empty() {
                    return Err(no_room(self.start, u64::try_from(rest.len()).unwrap_or(0), 0));
                }
            }
            let fits = usize::try_from(self.room).unwrap_or(usize::MAX);
            let front = rest.split_to(fits.min(rest.len()));
            self.append_here(front).await?;
        }
        Ok(())
    }

    async fn append_here(&mut self, bufs: IoVec) -> Result<()> {
        let length = u64::try_from(bufs.len()).unwrap_or(u64::MAX);
        let start = self.zones.last().map_or(self.start, |zone| zone.start);
        let position = self.backend.append(start, bufs).await?;
        self.room = self.room.saturating_sub(length);
        let next = Extent { position, length };
        match self.extents.last_mut().filter(|_| self.begun) {
            None => self.extents.push(next),
            Some(last) if last.position.saturating_add(last.length) == position => {
                last.length = last.length.saturating_add(length);
            }
            Some(_) => {
                let message = format!(
                    "somebody else appends to the zone at {start:#x} too: a piece of {length:#x} \
                     bytes landed at {position:#x}, apart from those before it"
                );
                return Err(Failure::of(&ErrorKind::Busy(String::new()), message));
            }
        }
        self.begun = true;
        Ok(())
    }

    fn done(&self) -> Extent {
        Extent {
            position: self.extents.first().map_or(0, |e| e.position),
            length: total(&self.extents),
        }
    }
}

fn total(extents: &[Extent]) -> u64 {
    let lengths = extents.iter().map(|extent| extent.length);
    lengths.fold(0, u64::saturating_add)
}

/// How many bytes a zone takes.
fn room_of(zone: &Zone) -> u64 {
    match (zone.write_pointer, zone.condition) {
        (None, _) | (_, ZoneCondition::Full) => 0,
        (Some(at), _) => zone.writable_end().saturating_sub(at),
    }
}

fn no_room(start: u64, needed: u64, remaining: u64) -> Failure {
    let message = format!(
        "append of {needed:#x} bytes from {start:#x} on: the zones from there to the end take only \
         {remaining:#x} more (reset zones, or begin at another one)"
    );
    let kind = ErrorKind::ZoneFull {
        zone: block_backend::block_core::ZoneId { index: 0, start },
        needed,
        remaining,
    };
    Failure::of(&kind, message)
}
