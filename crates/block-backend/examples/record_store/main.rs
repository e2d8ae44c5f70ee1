//! An append-only record store on zones: many writers at once, recovery after a restart, and the
//! oldest zone is reset when space runs out.
//!
//! `cargo run --example record_store [IMAGE]` overwrites IMAGE, or uses a temporary file.

mod store;

use block_backend::BlockBackend;
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use std::sync::Arc;
use store::{Result, Store};
use tokio::task::JoinSet;

/// Lets `writers` tasks store `each` records, all at once.
async fn fill(store: &Arc<Store>, writers: u64, each: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for n in 0..each {
                store.put(format!("record {n} of writer {writer}").as_bytes()).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    store.sync().await
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or(folder.path().join("store.zbd"), Into::into);
    let image = path.to_str().ok_or("the path is not UTF-8")?;
    let (size, zone_size) = (64 << 20, 4 << 20);
    let geometry = GeometryConfig { size, zone_size, max_open: 4, ..GeometryConfig::default() };
    create_zoned(&path, &CreateOptions::new(geometry), true).await?;

    let store = Arc::new(Store::open(BlockBackend::open(image).await?).await?);
    fill(&store, 32, 400).await?;
    let before = store.index.lock().await.clone();
    println!("32 writers stored {} records", before.len());
    drop(store); // No close: as if the program had crashed after the sync.

    let store = Arc::new(Store::open(BlockBackend::open(image).await?).await?);
    assert_eq!(*store.index.lock().await, before);
    println!("a restart found them again; number 0 is {:?}", store.get(0).await?);
    fill(&store, 32, 400).await?;
    let index = store.index.lock().await;
    println!("{} are kept of as many more; the oldest zones were reset", index.len());
    println!("the first kept one is number {:?}", index.keys().next());
    store.disk.close().await?;
    Ok(())
}
