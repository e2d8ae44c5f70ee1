//! `zblk check --repair`, killed: the next repair does the rest, and nothing is lost.

use crate::process::{Place, kill_within, next_guess, text};
use power_cut::Rng;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
const ZONES: u64 = 6000;
/// Of the table, in each slot.
const PAGES: u64 = ZONES.div_ceil(253);
const TABLE: u64 = 128 << 10;

/// Kills so many times. Says what was done.
pub fn kill(mut rng: Rng, kills: u64) -> String {
    let place = Place::new();
    place
        .zblk(&["create", "good.zbd", "--size", &format!("{}k", ZONES * 4), "--zone-size", "4k"])
        .unwrap();
    let mut lines = String::new();
    for zone in (0..ZONES).step_by(97) {
        lines += &format!("zap -P {} {} 4k\n", 1 + zone % 255, zone * 4096);
    }
    std::fs::write(place.path("lines"), lines).unwrap();
    let input = File::open(place.path("lines")).unwrap();
    let filled = place.command("zblk").args(["io", "good.zbd"]).stdin(input).output().unwrap();
    assert!(filled.status.success(), "{filled:?}");
    let good = report(&place, "good.zbd");

    let mut needs = time_of_a_repair(&place, &mut rng);
    let (mut killed, mut unfinished, mut lost_pages) = (0, 0, 0);
    for attempt in 0..kills * 10 {
        if killed == kills {
            break;
        }
        let name = format!("{attempt}.zbd");
        let lost = damage(&place.path("good.zbd"), &place.path(&name), &mut rng);
        lost_pages += lost.len();
        let before = place.zblk(&["check", &name]).unwrap_err();
        let repair = || {
            let mut command = place.command("zblk");
            command.args(["check", &name, "--repair"]);
            command
        };
        let hit = kill_within(repair(), needs, &mut rng);
        killed += u64::from(hit);
        needs = needs.mul_f64(next_guess(hit));
        let between = place.zblk(&["check", &name]);
        let left = between.as_ref().unwrap_or_else(|e| e)["findings"].as_array().unwrap().len();
        assert!(left <= before["findings"].as_array().unwrap().len(), "a kill made it worse");
        unfinished += u64::from(left > 0);
        let repaired = place.zblk(&["check", &name, "--repair"]).unwrap();
        assert_eq!(repaired["sound"], true, "{repaired}");
        place.must_be_sound(&name);
        compare(&good, &report(&place, &name), &lost);
        std::fs::remove_file(place.path(&name)).unwrap();
    }
    assert_eq!(killed, kills, "it is too quick to be killed");
    format!(
        "{killed} kills, {unfinished} repairs left unfinished by them; {lost_pages} pages had no \
         good copy"
    )
}

fn time_of_a_repair(place: &Place, rng: &mut Rng) -> Duration {
    damage(&place.path("good.zbd"), &place.path("first.zbd"), rng);
    let start = Instant::now();
    place.zblk(&["check", "first.zbd", "--repair"]).unwrap();
    start.elapsed()
}

/// A copy with damage to one copy of most things, and to both of some pages: which ones.
fn damage(good: &Path, copy: &Path, rng: &mut Rng) -> Vec<u64> {
    let status = std::process::Command::new("cp")
        .args(["--sparse=always", text(good), text(copy)])
        .status()
        .unwrap();
    assert!(status.success());
    let file = File::options().read(true).write(true).open(copy).unwrap();
    let mut flip = |place: u64| {
        let at = place + 40 + rng.below(4000);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    };
    flip(64 << 10);
    flip(4 << 10);
    let mut lost = Vec::new();
    for page in 0..PAGES {
        let [even, odd] = [TABLE + page * PAGE, TABLE + (PAGES + page) * PAGE];
        match page % 8 {
            0 => {
                flip(even);
                flip(odd);
                lost.push(page);
            }
            1..=3 => flip(even),
            4..=6 => flip(odd),
            _ => {}
        }
    }
    lost
}

/// Write pointers and conditions of all zones.
fn report(place: &Place, name: &str) -> Vec<(serde_json::Value, serde_json::Value)> {
    let report = place.zblk(&["report", name]).unwrap();
    let zones = report["zones"].as_array().unwrap();
    zones.iter().map(|z| (z["write_pointer"].clone(), z["condition"].clone())).collect()
}

fn compare<T: PartialEq + std::fmt::Debug>(
    good: &[(T, serde_json::Value)],
    now: &[(T, serde_json::Value)],
    lost: &[u64],
) {
    assert_eq!(good.len(), now.len());
    for (zone, (good, now)) in good.iter().zip(now).enumerate() {
        if lost.contains(&(zone as u64 / 253)) {
            assert_eq!(now.1, "full", "zone {zone}");
        } else {
            assert_eq!(good, now, "zone {zone}");
        }
    }
}
