//! Each case can fail: drivers that break one rule each are found out by the case that names it.
// Helpers of tests, where a panic is the failure report and numbers are small.
#![allow(clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod wrapper;

use block_conformance::memory::{MemoryConfig, MemoryDriver, MemoryZoned, MemoryZonedConfig};
use block_conformance::{Fresh, OpenMode, Profile, Verdict, run};
use block_core::{BlockDriver, Limits, Node};
use std::sync::Arc;
use std::time::Duration;
use wrapper::{Broken, Flaw};

fn node(flaw: Flaw, inner: impl BlockDriver + 'static) -> Arc<Node> {
    Node::new("broken", Box::new(Broken::new(flaw, Box::new(inner))))
}

fn regular(flaw: Flaw) -> Fresh {
    let config = MemoryConfig {
        length: 1 << 20,
        lag: if flaw == Flaw::SettlesAtOnce { 40 } else { 0 },
        limits: Limits { discard: flaw != Flaw::DiscardsThoughItSaysNo, ..Limits::unaligned() },
    };
    let driver = MemoryDriver::new(config);
    let store = driver.store();
    Fresh::new(node(flaw, driver)).with_reopen(move |mode| {
        let (store, mut config) = (store.clone(), config);
        config.limits.read_only = mode == OpenMode::ReadOnly;
        async move { Ok(node(flaw, MemoryDriver::open(store, config))) }
    })
}

fn zoned(flaw: Flaw) -> Fresh {
    Fresh::new(node(flaw, MemoryZoned::new(MemoryZonedConfig::default())))
}

/// Runs one case against the broken driver and against its sound twin's rules.
async fn verdict(profile: Profile, flaw: Flaw, fresh: fn(Flaw) -> Fresh, case: &str) -> Verdict {
    let mut profile = profile.only(case);
    profile.patience = Duration::from_secs(3);
    let report = run(profile, move || async move { fresh(flaw) }).await;
    let found = report.cases.iter().find(|c| c.name == case);
    found.unwrap_or_else(|| panic!("no case '{case}'")).verdict.clone()
}

async fn found_out(profile: fn() -> Profile, fresh: fn(Flaw) -> Fresh, flaws: &[(Flaw, &str)]) {
    let mut missed = Vec::new();
    for (flaw, case) in flaws {
        let verdict = verdict(profile(), *flaw, fresh, case).await;
        if !matches!(verdict, Verdict::Failed(_)) {
            missed.push(format!("{flaw:?} was not found out by {case}: {verdict:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test]
async fn broken_regular_drivers_are_found_out() {
    let flaws = [
        (Flaw::ReadsOneBlockOff, "data::parts_of_a_write"),
        (Flaw::LosesTheLastSegment, "data::writes_of_odd_segments"),
        (Flaw::GivesOtherBuffersBack, "data::a_read_gives_its_buffers_back"),
        (Flaw::TakesForeignMemoryForEmpty, "alignment::foreign_memory_is_written_from"),
        (Flaw::DiesAtTheEnd, "bounds::the_last_block_is_usable"),
        (Flaw::FlushesNothing, "persistence::flushed_data_survives_a_drop"),
        (Flaw::IgnoresFua, "persistence::fua_data_survives_a_drop"),
        (Flaw::IgnoresFua, "persistence::zeroes_survive"),
        (Flaw::CloseWritesNothing, "persistence::data_survives_a_close"),
        (Flaw::ZeroesTooMuch, "zeroes::neighbours_of_zeroes_are_untouched"),
        (Flaw::ZeroesNothing, "zeroes::every_set_of_flags"),
        (Flaw::DiscardsThoughItSaysNo, "zeroes::discard_as_the_limits_say"),
        (Flaw::GrowsWithGarbage, "resize::growth_reads_as_zeroes"),
        (Flaw::CutsWhereItLooks, "resize::a_look_at_what_nobody_changed_changes_nothing"),
        (Flaw::SettlesAtOnce, "cancel_data::writes_are_over_after_settle"),
        (Flaw::StaysLockedAfterADrop, "cancel_data::writes"),
        (Flaw::ChangesItsLimits, "facts::limits_never_change"),
        (Flaw::ForgetsThatItIsReadOnly, "facts::read_only_shows_in_the_limits"),
    ];
    found_out(Profile::regular, regular, &flaws).await;
}

#[tokio::test]
async fn broken_zoned_drivers_are_found_out() {
    let flaws = [
        (Flaw::HidesItsZones, "facts::zones_are_where_the_limits_say"),
        (Flaw::ReportsFromTheNextZone, "zones_report::from_the_middle_of_a_zone"),
        (Flaw::ReportsTooMany, "zones_report::as_many_as_asked"),
        (Flaw::ReportsTooMany, "zones_report::none_asked"),
        (Flaw::ReportsFullZonesAtTheirStart, "zones_manage::finish"),
        (Flaw::ReportsFullZonesAtTheirStart, "zones_write::the_capacity_fills_the_zone"),
        (Flaw::ReadsGarbageAbovePointers, "zones_read::zeroes_above_the_pointer"),
        (Flaw::ReadsGarbageAbovePointers, "zones_manage::reset"),
        (Flaw::SwapsPositions, "zones_write::off_the_pointer"),
        (Flaw::NamesTheNextZone, "zones_append::to_a_full_zone"),
        (Flaw::TellsTheEndOfAnAppend, "zones_append::lands_at_the_pointer"),
        (Flaw::AppendsToTheNextZone, "zones_append::never_reaches_the_next_zone"),
        (Flaw::AppendsInTwoPieces, "zones_append_parallel::to_one_zone"),
        (Flaw::AppendsInAnyOrder, "zones_append_parallel::land_in_the_order_of_their_first_polls"),
        (Flaw::CountsDroppedAppends, "cancel_zones::appends"),
        (Flaw::OpensFullZones, "zones_manage::open_of_a_full_zone"),
        (Flaw::SkipsConventionalZones, "zones_range::a_conventional_zone_in_a_range"),
        (Flaw::ManagesZoneByZone, "zones_range::a_full_zone_in_an_open_range"),
        (Flaw::WipesConventionalZones, "zones_range::reset_of_everything"),
        (Flaw::TakesMoreOpenZones, "zones_resources::more_explicitly_open_zones_than_allowed"),
        (Flaw::ZeroesNothing, "zones_write::zeroes_move_the_pointer_or_are_refused"),
    ];
    found_out(Profile::zoned, zoned, &flaws).await;
}

/// The wrapper itself breaks nothing: with a flaw that is out of reach, every case passes.
#[tokio::test]
async fn the_wrapper_without_effect_passes() {
    let report = run(Profile::zoned(), || async { zoned(Flaw::GrowsWithGarbage) }).await;
    report.check("wrapped zoned memory");
    let report = run(Profile::regular(), || async { regular(Flaw::OpensFullZones) }).await;
    report.check("wrapped memory");
}

/// What a report says of failures is what a developer has to go by.
#[tokio::test]
async fn a_failed_case_is_named_and_explained() {
    let profile = Profile::regular().only("data::one_block");
    let flaw = Flaw::ReadsOneBlockOff;
    let report = run(profile, move || async move { regular(flaw) }).await;
    assert_eq!(report.passed(), 1, "its first block is at 0, where the flaw does nothing");
    let profile = Profile::regular().only("data::parts_of_a_write");
    let report = run(profile, move || async move { regular(flaw) }).await;
    let text = format!("{report:#}");
    assert!(text.contains("FAILED  data::parts_of_a_write: a part at 0x200: "), "{text}");
    assert!(text.contains("bytes are wrong, the first at 0x0"), "{text}");
}

#[tokio::test]
async fn a_case_is_left_out_for_a_reason_that_is_told() {
    let case = "data::parts_of_a_write";
    let profile = Profile::regular().only(case).leave_out(case, "known");
    let report = run(profile, || async { regular(Flaw::ReadsOneBlockOff) }).await;
    assert_eq!(report.skipped().collect::<Vec<_>>(), [(case, "known")]);
    assert_eq!(report.failed().count(), 0);
}
