//! The battery that every driver runs.

use crate::harness::Suite;
use crate::subject::{DIRECT, Device, READ_ONLY, Subject, open_soon, options};
use block_conformance::{Fresh, OpenMode, Profile, Verdict, ZoneHabits};
use block_core::{Options, ZoneCondition};
use std::time::Duration;

/// How real devices differ from ours.
fn profile() -> Profile {
    let mut profile = Profile::zoned();
    profile.patience = Duration::from_secs(240);
    profile.zones = ZoneHabits {
        // The kernel takes the zones of a range one after another.
        all_or_nothing: false,
        // A device keeps its open zones when a program closes it.
        reopen_closes_zones: false,
        ..ZoneHabits::default()
    };
    profile
}

/// A node of the battery on this device.
async fn fresh(subject: Subject, options: Options) -> Fresh {
    let node = open_soon(options.clone(), DIRECT).await.unwrap();
    let reopen = move |mode| {
        let options = options.clone();
        let how = if mode == OpenMode::ReadOnly { READ_ONLY } else { DIRECT };
        async move { open_soon(options, how).await }
    };
    let mut fresh = Fresh::new(node).with_reopen(reopen);
    let null_blk = subject.null_blk.clone().filter(|n| n.can_damage());
    if let Some(null_blk) = null_blk {
        fresh = fresh.with_set_condition(move |node, index, condition| {
            let zone_size = node.limits().zoned.map_or(0, |z| z.zone_size);
            let sector = (index * zone_size / 512).to_string();
            let attribute = match condition {
                ZoneCondition::ReadOnly => "zone_readonly",
                _ => "zone_offline",
            };
            let result = null_blk.try_set(attribute, &sector);
            async move { Ok(result?) }
        });
    }
    fresh.keeping(subject)
}

/// Runs the battery and takes its results over.
pub async fn battery(
    suite: &mut Suite<'_>,
    device: &Device,
    profile: Profile,
    append: &'static str,
) {
    let device = device.clone();
    let report = block_conformance::run(profile, move || {
        let subject = device.fresh();
        let options = options(&subject.path).set("append", append);
        fresh(subject, options)
    })
    .await;
    for case in report.cases {
        match case.verdict {
            Verdict::Passed => suite.record(case.name, None),
            Verdict::Failed(why) => suite.record(case.name, Some(why)),
            Verdict::Skipped(why) => suite.skip(case.name, &why),
        }
    }
}

pub fn profile_of(device: &Device) -> Profile {
    let mut profile = profile().leave_out(
        "zones_resources::the_longest_unwritten_zone_makes_room",
        "which open zone makes room is the device's to say",
    );
    if device.is_made() {
        // null_blk fills what is not written with a pattern.
        profile.zones.reads_above_pointer_are_zero = false;
        return profile;
    }
    for case in TWO_SUBJECTS {
        profile = profile.leave_out(case, "it needs two devices at once; null_blk runs it");
    }
    if device.kind.is_nvme() {
        let why = "NVMe: a zone that is closed untouched is closed, not empty";
        profile = profile.leave_out("zones_manage::close", why);
    }
    profile
}

const TWO_SUBJECTS: [&str; 4] = [
    "runtimes::current_thread",
    "runtimes::multi_thread",
    "runtimes::made_in_one_and_used_in_another",
    "runtimes::polled_by_no_runtime_of_its_own",
];

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    battery(suite, device, profile_of(device), "emulated").await;
}
