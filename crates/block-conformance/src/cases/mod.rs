//! The cases, one named async function each, by theme.

use crate::cx::Cx;
use crate::outcome::Outcome;
use crate::subject::BoxFuture;

/// One case.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Cx) -> BoxFuture<'static, Outcome>,
}

/// Lists the functions of a module as cases.
macro_rules! cases {
    ($theme:literal: $($case:ident),+ $(,)?) => {
        pub(crate) const CASES: &[$crate::cases::Case] = &[$(
            $crate::cases::Case {
                name: concat!($theme, "::", stringify!($case)),
                run: |cx| Box::pin($case(cx)),
            },
        )+];
    };
}

mod alignment;
mod bounds;
mod cancel_data;
mod cancel_zones;
mod close;
mod data;
mod facts;
mod flush;
mod ordering;
mod persistence;
mod resize;
mod runtimes;
mod zeroes;
mod zones_append;
mod zones_append_parallel;
mod zones_damaged;
mod zones_manage;
mod zones_range;
mod zones_read;
mod zones_report;
mod zones_resources;
mod zones_write;

/// All cases, in the order in which they run.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        facts::CASES,
        bounds::CASES,
        data::CASES,
        alignment::CASES,
        ordering::CASES,
        zeroes::CASES,
        flush::CASES,
        persistence::CASES,
        resize::CASES,
        zones_report::CASES,
        zones_write::CASES,
        zones_read::CASES,
        zones_append::CASES,
        zones_append_parallel::CASES,
        zones_manage::CASES,
        zones_range::CASES,
        zones_resources::CASES,
        zones_damaged::CASES,
        cancel_data::CASES,
        cancel_zones::CASES,
        close::CASES,
        runtimes::CASES,
    ]
    .into_iter()
    .flatten()
}
