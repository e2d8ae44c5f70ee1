//! `zblk io` with writes, appends, flushes, resets and finishes, killed between any two answers.

use crate::model::{Open, Piece, ZoneState, verify};
use crate::process::{Place, Victim, a_moment};
use power_cut::Rng;
use tokio::runtime::Runtime;

/// Kills of one image before a fresh one takes its place.
const LIVES: u64 = 20;
const STEPS: u64 = 24;
const ZONE: u64 = 256 << 10;
const BLOCK: u64 = 4096;
const ZONES: usize = 6;

/// One line for the shell, and what it does.
struct Step {
    line: String,
    does: Does,
}

enum Does {
    Write(Vec<(usize, Piece)>, bool),
    Conventional { block: usize, byte: u8 },
    Flush,
    Reset(usize),
    Finish(usize),
}

struct Image {
    name: String,
    capacity: u64,
    zones: Vec<ZoneState>,
    /// What each block of the conventional zone may hold: the last is the newest, the first the
    /// one that was promised.
    blocks: Vec<Vec<u8>>,
}

/// Kills so many times. Says what was done.
pub fn kill(mut rng: Rng, kills: u64) -> String {
    let place = Place::new();
    let runtime = Runtime::new().unwrap();
    let (mut killed, mut answers, mut flushes, mut images) = (0, 0, 0, 0);
    let mut image = None;
    while killed < kills {
        if killed % LIVES == 0 && image.as_ref().is_none_or(|(_, since)| *since != killed) {
            image = Some((Image::new(&place, images, &mut rng), killed));
            images += 1;
        }
        let (image, _) = image.as_mut().unwrap();
        let steps = image.invent(&mut rng);
        let mut script = String::new();
        for (number, step) in steps.iter().enumerate() {
            // The complaint about an unknown word is the answer to the line before it.
            script += &format!("{}\nanswer{number}\n", step.line);
        }
        let mut command = place.command("zblk");
        command.args(["io", &image.name]);
        let mut victim = Victim::start(command, &script);
        let enough = rng.below(STEPS + 1) as usize;
        while answered(&victim.said) < enough && victim.listen() {}
        a_moment(&mut rng);
        let (was_alive, said) = victim.kill();
        assert!(was_alive, "zblk io ended by itself: {said:?}");
        killed += 1;
        let failed = said.iter().find(|line| line.contains("failed"));
        assert_eq!(failed, None, "{said:?}");
        let done = answered(&said);
        answers += done;
        for step in &steps[..done] {
            flushes += usize::from(image.learn(&step.does));
        }
        let open = steps.get(done).map_or(Open::Nothing, |step| image.open(&step.does));
        place.must_be_sound(&image.name);
        let path = place.path(&image.name);
        let text = crate::process::text(&path);
        let found = runtime.block_on(verify(text, &image.zones, &open));
        image.zones = found.unwrap_or_else(|e| panic!("kill {killed}, {done} answers: {e}"));
        runtime.block_on(image.verify_conventional(text)).unwrap();
    }
    format!("{killed} kills of {images} images, {answers} answers before them, {flushes} promises")
}

fn answered(said: &[String]) -> usize {
    said.iter().filter(|line| line.starts_with("command \"answer")).count()
}

impl Image {
    fn new(place: &Place, number: u64, rng: &mut Rng) -> Self {
        let name = format!("io{number}.zbd");
        let capacity = if rng.chance(1, 2) { ZONE } else { ZONE - 4 * BLOCK };
        let (size, zone) = ((ZONE * ZONES as u64).to_string(), ZONE.to_string());
        let mut args = vec!["create", &name, "--size", &size, "--zone-size", &zone];
        let capacity_text = capacity.to_string();
        args.extend(["--conventional", "1", "--zone-capacity", &capacity_text]);
        if rng.chance(1, 2) {
            args.extend(["--max-open", "2", "--max-active", "5"]);
        }
        place.zblk(&args).unwrap();
        let blocks = vec![vec![0]; (ZONE / BLOCK) as usize];
        Self { name, capacity, zones: vec![ZoneState::default(); ZONES], blocks }
    }

    /// Makes steps up, all of which will work.
    fn invent(&self, rng: &mut Rng) -> Vec<Step> {
        let mut now: Vec<ZoneState> = self.zones.clone();
        (0..STEPS).map(|_| self.invent_one(&mut now, rng)).collect()
    }

    fn invent_one(&self, now: &mut [ZoneState], rng: &mut Rng) -> Step {
        let zone = 1 + rng.below(ZONES as u64 - 1) as usize;
        let start = ZONE * zone as u64;
        let byte = 1 + rng.below(255) as u8;
        let piece = Piece { byte, len: BLOCK * (1 + rng.below(8)) };
        let fits = |z: &ZoneState, len: u64| !z.full && z.end() + len <= self.capacity;
        let what = rng.below(20);
        if !fits(&now[zone], piece.len) && what < 12 || what == 12 {
            now[zone] = ZoneState::default();
            return Step { line: format!("zrs {start} {ZONE}"), does: Does::Reset(zone) };
        }
        let at = start + now[zone].end();
        let mut put = |number: usize, piece| {
            now[number].pieces.push(piece);
            now[number].full = now[number].end() == self.capacity;
        };
        match what {
            0..=3 => {
                put(zone, piece);
                let fua = rng.chance(1, 4);
                let flag = if fua { " -f" } else { "" };
                let line = format!("zap{flag} -P {byte} {start} {}", piece.len);
                Step { line, does: Does::Write(vec![(zone, piece)], fua) }
            }
            4..=7 => {
                put(zone, piece);
                let fua = rng.chance(1, 4);
                let flag = if fua { " -f" } else { "" };
                let line = format!("write -q{flag} -P {byte} {at} {}", piece.len);
                Step { line, does: Does::Write(vec![(zone, piece)], fua) }
            }
            8..=11 => {
                // Two at the same time, in one zone if both fit.
                let second = Piece { byte: byte % 255 + 1, len: BLOCK };
                put(zone, piece);
                let mut line = format!("aio_write -q -P {byte} {at} {}\n", piece.len);
                let mut both = vec![(zone, piece)];
                if fits(&now[zone], second.len) {
                    let at = start + now[zone].end();
                    now[zone].pieces.push(second);
                    now[zone].full = now[zone].end() == self.capacity;
                    line += &format!("aio_write -q -P {} {at} {}\n", second.byte, second.len);
                    both.push((zone, second));
                }
                Step { line: line + "aio_flush", does: Does::Write(both, false) }
            }
            13 => {
                now[zone].full = true;
                Step { line: format!("zf {start} {ZONE}"), does: Does::Finish(zone) }
            }
            14 | 15 => {
                let block = rng.below(ZONE / BLOCK) as usize;
                let at = block as u64 * BLOCK;
                let line = format!("write -q -P {byte} {at} {BLOCK}");
                Step { line, does: Does::Conventional { block, byte } }
            }
            _ => Step { line: "flush".to_owned(), does: Does::Flush },
        }
    }

    /// Takes note of a step that was answered. Whether it was a promise.
    fn learn(&mut self, does: &Does) -> bool {
        match does {
            Does::Write(pieces, fua) => {
                for (zone, piece) in pieces {
                    let zone = &mut self.zones[*zone];
                    zone.pieces.push(*piece);
                    zone.full = zone.end() == self.capacity;
                    if zone.full {
                        // Full by data is no promise: after a crash it may be full no more.
                        zone.full = false;
                    }
                }
                if *fua {
                    self.zones.iter_mut().for_each(ZoneState::flushed);
                }
                *fua
            }
            Does::Conventional { block, byte } => {
                self.blocks[*block].push(*byte);
                false
            }
            Does::Flush => {
                self.zones.iter_mut().for_each(ZoneState::flushed);
                self.blocks.iter_mut().for_each(|b| drop(b.drain(..b.len() - 1)));
                true
            }
            Does::Reset(zone) => {
                self.zones[*zone] = ZoneState::default();
                true
            }
            Does::Finish(zone) => {
                self.zones.iter_mut().for_each(ZoneState::flushed);
                self.zones[*zone].full = true;
                true
            }
        }
    }

    /// The step that was begun, or not.
    fn open(&mut self, does: &Does) -> Open {
        match does {
            Does::Write(pieces, _) => Open::Wrote(pieces.clone()),
            Does::Conventional { block, byte } => {
                self.blocks[*block].push(*byte);
                Open::Nothing
            }
            Does::Flush => Open::Nothing,
            Does::Reset(zone) => Open::Reset(*zone),
            Does::Finish(zone) => Open::Finish(*zone),
        }
    }

    async fn verify_conventional(
        &mut self,
        image: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let disk = block_backend::BlockBackend::builder().read_only(true).open(image).await?;
        let bytes = disk.read(0, ZONE as usize).await?;
        for (number, (block, may)) in bytes.chunks(BLOCK as usize).zip(&mut self.blocks).enumerate()
        {
            // A write of a block may have been cut off within it.
            let known = block.iter().all(|b| may.contains(b));
            assert!(known, "block {number} holds {:?}, and may hold {may:?}", block[0]);
            if may.len() > 1 {
                *may = block.to_vec();
                may.dedup();
            }
        }
        Ok(disk.close().await?)
    }
}
