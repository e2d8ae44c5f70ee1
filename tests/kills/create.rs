//! `zblk create`, killed: there is an image then, or none, and nothing between.

use crate::process::{Place, kill_within, next_guess, text};
use power_cut::Rng;
use std::path::Path;
use std::time::Instant;

/// Zones enough that making them takes a while.
const ARGS: [&str; 4] = ["--size", "128M", "--zone-size", "16k"];

/// Kills so many times. Says what was done.
pub fn kill(mut rng: Rng, kills: u64) -> String {
    let place = Place::new();
    let start = Instant::now();
    place.zblk(&[&["create", "whole.zbd"][..], &ARGS].concat()).unwrap();
    let mut needs = start.elapsed();
    let (mut killed, mut none, mut half, mut old, mut new) = (0, 0, 0, 0, 0);
    for attempt in 0..kills * 10 {
        if killed == kills {
            break;
        }
        let name = format!("{attempt}.zbd");
        let path = place.path(&name);
        let over = rng.chance(1, 2);
        if over {
            make_old(&place, &name);
        }
        let mut command = place.command("zblk");
        command.args(["create", &name, "--force"]).args(ARGS);
        let hit = kill_within(command, needs, &mut rng);
        killed += u64::from(hit);
        needs = needs.mul_f64(next_guess(hit));
        match look(&place, &path) {
            Seen::Nothing => {
                assert!(!over, "the old file is gone altogether");
                none += 1;
            }
            Seen::Half => half += 1,
            Seen::Zones(2) => {
                assert!(over);
                let kept = place.command("zblk").args(["read", &name, "0", "4k"]).output().unwrap();
                assert!(kept.stdout == [7; 4096], "the old image lost its data");
                old += 1;
            }
            Seen::Zones(zones) => {
                assert_eq!(zones, 8_192);
                new += 1;
            }
        }
        // Whatever is there, an image can be made in its place.
        place.zblk(&[&["create", &name, "--force"][..], &ARGS].concat()).unwrap();
        place.must_be_sound(&name);
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(killed, kills, "it is too quick to be killed");
    format!(
        "{killed} kills; then {none} times there was no file, {half} times no image, {old} times \
         the old one, {new} times the new one"
    )
}

fn make_old(place: &Place, name: &str) {
    place.zblk(&["create", name, "--size", "128k", "--zone-size", "64k"]).unwrap();
    let data = place.path("data");
    std::fs::write(&data, [7; 4096]).unwrap();
    let input = std::fs::File::open(&data).unwrap();
    let append = place.command("zblk").args(["append", name, "0"]).stdin(input).output().unwrap();
    assert!(append.status.success(), "{append:?}");
}

enum Seen {
    Nothing,
    Half,
    /// A whole image with so many zones.
    Zones(u64),
}

fn look(place: &Place, path: &Path) -> Seen {
    if !path.exists() {
        return Seen::Nothing;
    }
    // A report that finds something is told by the exit status too.
    let checked = place.zblk(&["check", text(path)]);
    match checked.or_else(|said| if said["sound"].is_boolean() { Ok(said) } else { Err(said) }) {
        Ok(mut report) => {
            if report["sound"] == false {
                // The kill came between the two copies of the header: the other one is whole.
                let findings = report["findings"].as_array().unwrap();
                let problem = |f: &serde_json::Value| f["problem"].as_str().unwrap().to_owned();
                assert!(
                    findings.iter().all(|f| problem(f).contains("copy of the header")),
                    "{report}"
                );
                place.zblk(&["check", text(path), "--repair"]).unwrap();
                report = place.zblk(&["check", text(path)]).unwrap();
            }
            assert_eq!(report["sound"], true, "{report}");
            Seen::Zones(report["zones"].as_u64().unwrap())
        }
        Err(error) => {
            assert_eq!(error["error"]["kind"], "invalid-image", "{error}");
            // Neither can it be taken for a zoned device.
            let refused = place.zblk(&["reset", text(path), "--all"]).unwrap_err();
            let kind = refused["error"]["kind"].as_str().unwrap();
            assert!(["not-zoned", "invalid-image"].contains(&kind), "{refused}");
            Seen::Half
        }
    }
}
