//! Writes that join one in flight get the same answers, and leave the same state, as the same
//! writes done one after the other.

#![allow(missing_docs, clippy::unwrap_used)]

use block_core::ZoneOp;
use proptest::prelude::*;
use zone_model::{Geometry, GeometryConfig, ZoneModel};

const BLOCK: u64 = 512;

#[derive(Clone, Copy, Debug)]
enum Request {
    Append {
        blocks: u64,
    },
    /// A write this many blocks off the place where it would fit.
    Write {
        blocks: u64,
        off: i64,
    },
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (0..5_u64).prop_map(|blocks| Request::Append { blocks }),
        (0..5_u64, prop_oneof![8 => Just(0_i64), 1 => -2..3_i64])
            .prop_map(|(blocks, off)| Request::Write { blocks, off }),
    ]
}

fn model(capacity: u64, finished: bool) -> ZoneModel {
    let geometry = Geometry::new(&GeometryConfig {
        size: 4 * 16 * BLOCK,
        zone_size: 16 * BLOCK,
        zone_capacity: Some(capacity * BLOCK),
        conventional: 1,
        block_size: 512,
        max_open: 1,
        max_active: 2,
    })
    .unwrap();
    let mut model = ZoneModel::new(geometry);
    if finished {
        model.manage(ZoneOp::Finish, 2..3).unwrap();
    }
    model
}

proptest! {
    #[test]
    fn merging_changes_no_answer(
        requests in prop::collection::vec(request(), 1..10),
        capacity in 1_u64..=16,
        finished: bool,
    ) {
        let (mut singly, mut merged) = (model(capacity, finished), model(capacity, finished));
        let start = 2 * 16 * BLOCK;
        let mut ahead = 0;
        for request in requests {
            let (one, other) = match request {
                Request::Append { blocks } => {
                    let len = blocks * BLOCK;
                    (singly.append(start, len), merged.start_append_behind(ahead, start, len))
                }
                Request::Write { blocks, off } => {
                    let len = blocks * BLOCK;
                    let at = (start + ahead).saturating_add_signed(off * 512);
                    // What is ahead is ahead in this zone; a write elsewhere is another story.
                    if !(start..start + 16 * BLOCK).contains(&at) {
                        continue;
                    }
                    (singly.write(at, len), merged.start_write_behind(ahead, at, len))
                }
            };
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            ahead += other.map_or(0, |started| started.len);
        }
        merged.complete_write(2, ahead);
        prop_assert_eq!(singly.report(0, 4), merged.report(0, 4));
        prop_assert_eq!(singly.open_zones(), merged.open_zones());
    }
}
