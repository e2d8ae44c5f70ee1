//! How options become a filter with rules.

use crate::driver::{FaultInject, NAME};
use crate::options::{FaultOptions, rule};
use async_trait::async_trait;
use block_core::{
    BlockDriver, ChildRole, ContentClaim, DriverFactory, OpenContext, PathClaim, Result,
};
use std::path::Path;

/// The factory of the `fault-inject` driver, to be registered.
pub fn fault_inject() -> impl DriverFactory {
    Factory
}

struct Factory;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DriverFactory for Factory {
    fn name(&self) -> &'static str {
        NAME
    }

    fn claims_path(&self, _: &Path) -> PathClaim {
        PathClaim::No
    }

    fn claims_content(&self, _: &[u8]) -> ContentClaim {
        ContentClaim::No
    }

    async fn open(&self, context: &mut OpenContext<'_>) -> Result<Box<dyn BlockDriver>> {
        let options: FaultOptions = context.options()?;
        // Before the child is opened, so that a wrong rule touches nothing.
        let rules = options.rules.iter().map(|(name, options)| rule(name, options));
        let rules = rules.collect::<Result<Vec<_>>>()?;
        let needs = context.needs(ChildRole::Filtered, true);
        let child = context.child(options.file, needs).await?;
        let (driver, faults) = FaultInject::new(child);
        rules.into_iter().try_for_each(|rule| faults.add(rule))?;
        Ok(Box::new(driver))
    }
}
