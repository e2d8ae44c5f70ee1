//! How graphs are built: names, options, rights, and who may stand on whom.

#![allow(missing_docs, clippy::unwrap_used)]

mod fake;

use block_core::graph::{Graph, Inherited};
use block_core::{
    ChildNeeds, ChildRole, ImageSpec, IoVec, IoVecMut, Node, OpKind, RequestFlags, Result,
};
use fake::graph;
use std::sync::Arc;

async fn open(graph: &Graph, image: &str) -> Result<Arc<Node>> {
    graph.open(&ImageSpec::parse(image)?, Inherited::default()).await
}

async fn refusal(graph: &Graph, image: &str) -> String {
    open(graph, image).await.unwrap_err().to_string()
}

const READER: ChildNeeds =
    ChildNeeds { role: ChildRole::Root, write: false, share_write: false, carries_zones: true };
const WRITER: ChildNeeds = ChildNeeds { write: true, ..READER };

#[tokio::test]
async fn a_path_opens_as_protocol_and_format() {
    let (graph, _) = graph();
    let node = open(&graph, "disk.img").await.unwrap();
    assert_eq!((node.driver_name(), node.children().len()), ("filter", 1));
    assert_eq!(node.children().first().unwrap().driver_name(), "store");
    let device = open(&graph, "/dev/x").await.unwrap();
    assert_eq!((device.driver_name(), device.children().len()), ("smr", 0));
}

#[tokio::test]
async fn nodes_have_names_to_be_found_by() {
    let (graph, _) = graph();
    let low = open(&graph, "driver=store,node-name=low,read-only=on").await.unwrap();
    let high = open(&graph, "driver=filter,read-only=on,file=low").await.unwrap();
    assert!(Arc::ptr_eq(high.children().first().unwrap().node(), &low));
    assert!(graph.node(high.name()).is_some());
    let twice = refusal(&graph, "driver=store,node-name=low").await;
    assert_eq!(twice, "there is a node named 'low' already");
    let nobody = refusal(&graph, "driver=filter,file=nobody").await;
    assert!(nobody.contains("no node is named 'nobody'"), "{nobody}");
    drop((low, high));
    assert!(graph.node("low").is_none(), "the graph keeps nothing alive");
    open(&graph, "driver=store,node-name=low").await.unwrap();
}

#[tokio::test]
async fn a_failed_open_leaves_nothing_behind() {
    let (graph, _) = graph();
    let image =
        "driver=filter,node-name=top,file.driver=store,file.node-name=low,file.filename=broken";
    assert_eq!(refusal(&graph, image).await, "open on node 'low': it is broken");
    assert!(graph.node("top").is_none() && graph.node("low").is_none());
    open(&graph, "driver=store,node-name=low").await.unwrap();
    open(&graph, "driver=store,node-name=top").await.unwrap();
}

#[tokio::test]
async fn mistakes_in_options_are_named() {
    let (graph, _) = graph();
    let driver = refusal(&graph, "driver=stroe").await;
    assert_eq!(driver, "no driver is called 'stroe'; did you mean 'store'?");
    assert!(refusal(&graph, "driver=store,filname=x").await.contains("did you mean 'filename'?"));
    assert!(refusal(&graph, "filename=x").await.contains("name no driver"));
    assert!(refusal(&graph, "driver=store,read-only=perhaps").await.contains("expected on or off"));
    assert!(refusal(&graph, "driver=store,cache.dirct=on").await.contains("dirct"));
}

#[tokio::test]
async fn read_only_is_passed_on_and_can_be_said_below() {
    let (graph, _) = graph();
    let node = open(&graph, "driver=filter,read-only=on,file.driver=store").await.unwrap();
    assert!(node.children().first().unwrap().limits().read_only);
    assert_eq!(node.attach(WRITER, "backend").unwrap_err().kind().name(), "read-only");
    let below = open(&graph, "driver=filter,file.driver=store,file.read-only=on").await;
    assert_eq!(below.unwrap_err().kind().name(), "read-only");
}

#[tokio::test]
async fn one_writer_unless_all_agree() {
    let (graph, _) = graph();
    let node = open(&graph, "driver=store,node-name=disk").await.unwrap();
    let readers = (node.attach(READER, "a").unwrap(), node.attach(READER, "b").unwrap());
    assert_eq!(
        node.attach(WRITER, "c").unwrap_err().to_string(),
        "'c' cannot write to node 'disk': 'a' uses it and does not share writing (close the other \
         user first; readers may share, a writer is alone)"
    );
    drop(readers);
    let writer = node.attach(WRITER, "c").unwrap();
    assert!(node.attach(READER, "a").is_err());
    drop(writer);
    let sharing = ChildNeeds { share_write: true, ..WRITER };
    let _both = (node.attach(sharing, "a").unwrap(), node.attach(sharing, "b").unwrap());
    assert!(node.attach(READER, "c").is_err());
}

#[tokio::test]
async fn zones_are_refused_where_they_cannot_be_carried() {
    let (graph, _) = graph();
    open(&graph, "driver=filter,file.driver=smr").await.unwrap();
    let node = open(&graph, "driver=smr,node-name=zoned").await.unwrap();
    for image in [
        "driver=blind,file.driver=smr",
        "driver=blind,file=zoned",
        "driver=blind,file.driver=filter,file.file.driver=smr",
    ] {
        let refused = refusal(&graph, image).await;
        assert!(refused.contains("does not carry zones"), "{image}: {refused}");
    }
    let needs = ChildNeeds { carries_zones: false, ..READER };
    assert_eq!(node.attach(needs, "code").unwrap_err().kind().name(), "invalid-option");
}

#[tokio::test]
async fn parents_close_before_their_children_and_shared_ones_stay() {
    let (graph, log) = graph();
    let shared = open(&graph, "driver=store,node-name=low,read-only=on").await.unwrap();
    let other = shared.attach(READER, "other").unwrap();
    let top = "driver=filter,node-name=top,read-only=on,file=low";
    let node = open(&graph, top).await.unwrap();
    node.settle().await.unwrap();
    node.close().await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["settle top", "settle low", "close top"]);
    assert_eq!(node.attach(READER, "late").unwrap_err().kind().name(), "closed");
    other.close().await.unwrap();
    assert_eq!(log.lock().unwrap().split_off(3), ["close low"], "its last user closes it");
}

#[tokio::test]
async fn a_close_that_is_dropped_half_way_is_ended_by_the_next() {
    let (graph, log) = graph();
    let image = "driver=filter,node-name=top,file.driver=filter,file.node-name=slow,file.file.driver=store,\
         file.file.node-name=low";
    let node = open(&graph, image).await.unwrap();
    let user = node.attach(READER, "user").unwrap();
    let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Box::pin(user.close()).as_mut().poll(&mut nobody).is_pending());
    assert_eq!(*log.lock().unwrap(), ["close top", "close slow"]);
    assert_eq!(node.attach(READER, "late").unwrap_err().kind().name(), "closed");
    user.close().await.unwrap();
    let rest = log.lock().unwrap().split_off(2);
    assert_eq!(rest, ["close slow", "end slow", "close low"], "what has ended is not closed again");
    user.close().await.unwrap();
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn requests_are_counted_and_errors_name_the_node_nearest_to_the_cause() {
    let (graph, _) = graph();
    let image =
        "driver=filter,node-name=top,file.driver=filter,file.node-name=low,file.file.driver=store";
    let node = open(&graph, image).await.unwrap();
    node.read(0, IoVecMut::from(vec![1; 512])).await.unwrap();
    let children = node.children();
    let below = children.first().unwrap().stats().of(OpKind::Read);
    assert_eq!((below.done(), below.bytes()), (1, 512));
    let error = node.read(666, IoVecMut::from(vec![1; 5])).await.unwrap_err();
    let said = (error.node(), error.op(), error.range());
    assert_eq!(said, (Some("top"), Some("read"), Some((666, 5))));
    assert_eq!(node.stats().of(OpKind::Read).failed(), 1);
    let error = node.append(0, IoVec::new(), RequestFlags::empty()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("append at 0x0 on node 'top': the node has no zones"));
}
