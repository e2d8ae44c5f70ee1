//! The battery, on the null driver in all its variants.

use block_conformance::{Fresh, Profile, Retention, check};
use block_core::{Graph, ImageSpec, Inherited, Node, Registry};
use null_driver::{Null, NullConfig, null};
use std::sync::Arc;
use std::time::Duration;

async fn open(text: &'static str) -> block_core::Result<Arc<Node>> {
    let graph = Graph::new(Registry::new().with(null()));
    graph.open(&ImageSpec::parse(text)?, Inherited::default()).await
}

#[test]
fn keeps_the_contract() {
    let report = check("null", Profile::forgetful(), || async {
        Fresh::new(open("driver=null").await.expect("opens"))
    });
    assert!(report.passed() >= 50, "{report:#}");
}

#[test]
fn without_zeroes_keeps_the_contract() {
    let mut profile = Profile::forgetful();
    profile.retention = Retention::Nothing;
    check("null, read-zeroes=off", profile, || async {
        let node = open("driver=null,size=8M,read-zeroes=off").await;
        Fresh::new(node.expect("opens"))
    });
}

#[test]
fn with_a_latency_keeps_the_contract() {
    check("null, latency", Profile::forgetful(), || async {
        Fresh::new(Node::new(
            "slow",
            Box::new(Null::new(NullConfig {
                size: 256 << 10,
                latency: Duration::from_micros(20),
                ..NullConfig::default()
            })),
        ))
    });
}
