//! A filter that holds writes and flushes while it is shut, and an emulated device over it.

use async_trait::async_trait;
use block_backend::block_core::graph::Graph;
use block_backend::block_core::{
    BlockDriver, Child, ChildNeeds, ChildRole, InFlight, Node, ZonedDriver,
};
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_backend::{
    BackendBuilder, BlockBackend, IoVec, IoVecMut, Limits, Options, RequestFlags, Result,
    standard_drivers,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

pub const SOON: Duration = Duration::from_millis(30);

/// The hand on the valve.
#[derive(Clone, Debug)]
pub struct Hold {
    shut: Arc<watch::Sender<bool>>,
    waiting: Arc<AtomicUsize>,
    running: InFlight,
    folder: Arc<tempfile::TempDir>,
}

impl Hold {
    pub fn shut(&self) {
        self.shut.send_replace(true);
    }

    pub fn open(&self) {
        self.shut.send_replace(false);
    }

    /// Operations that are held at this moment.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// The same image, opened again.
    pub async fn reopen(&self) -> BlockBackend {
        let path = self.folder.path().join("held.zbd");
        BlockBackend::open(path.to_str().unwrap()).await.unwrap()
    }
}

#[derive(Debug)]
struct Held {
    child: Arc<Child>,
    hold: Hold,
}

impl Held {
    /// Does it when the valve is open, whether or not anybody still waits for it, as a system call
    /// on another thread would.
    async fn later<F>(&self, work: impl FnOnce(Arc<Child>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut valve = self.hold.shut.subscribe();
        let waiting = Arc::clone(&self.hold.waiting);
        let guard = self.hold.running.start();
        let work = work(Arc::clone(&self.child));
        // A thread of its own, so that no runtime's end can stop it.
        let (done, answer) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                if *valve.borrow() {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    valve.wait_for(|shut| !shut).await.unwrap();
                    waiting.fetch_sub(1, Ordering::SeqCst);
                }
                let result = work.await;
                drop(guard);
                let _ = done.send(result);
            });
        });
        answer.await.unwrap()
    }
}

#[async_trait]
impl BlockDriver for Held {
    fn driver_name(&self) -> &'static str {
        "held"
    }
    fn limits(&self) -> Limits {
        *self.child.limits()
    }
    fn length(&self) -> u64 {
        self.child.length()
    }
    fn children(&self) -> Vec<&Child> {
        vec![&self.child]
    }

    fn counters(&self) -> Vec<block_core::Counter> {
        Vec::new()
    }
    fn zoned(&self) -> Option<&dyn ZonedDriver> {
        None
    }
    async fn read(&self, offset: u64, bufs: IoVecMut) -> Result<IoVecMut> {
        self.child.read(offset, bufs).await
    }
    async fn write(&self, offset: u64, bufs: IoVec, flags: RequestFlags) -> Result<()> {
        self.later(|child| async move { child.write(offset, bufs, flags).await }).await
    }
    async fn flush(&self) -> Result<()> {
        self.later(|child| async move { child.flush().await }).await
    }
    async fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.child.discard(offset, len).await
    }
    async fn write_zeroes(&self, offset: u64, len: u64, flags: RequestFlags) -> Result<()> {
        self.later(|child| async move { child.write_zeroes(offset, len, flags).await }).await
    }
    async fn resize(&self, length: u64) -> Result<()> {
        self.child.resize(length).await
    }
    async fn refresh(&self) -> Result<()> {
        self.child.refresh().await
    }
    async fn settle(&self) -> Result<()> {
        self.hold.running.settle().await;
        Ok(())
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// An emulated device (8 zones of 64 KiB) over a valve, which is open, over a file.
pub async fn held_device(builder: BackendBuilder) -> (BlockBackend, Hold) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.zbd");
    let geometry =
        GeometryConfig { size: 512 << 10, zone_size: 64 << 10, ..GeometryConfig::default() };
    create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
    let hold = Hold {
        shut: Arc::new(watch::channel(false).0),
        waiting: Arc::default(),
        running: InFlight::default(),
        folder: Arc::new(folder),
    };
    let graph = Graph::new(standard_drivers());
    let file = Options::driver("file").set("filename", path.to_str().unwrap());
    let file = graph.open_options(file, Default::default()).await.unwrap();
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: true,
        share_write: false,
        carries_zones: false,
    };
    let child = Arc::new(file.attach(needs, "held").unwrap());
    let held: Arc<Node> =
        graph.add(Some("held"), Box::new(Held { child, hold: hold.clone() })).unwrap();
    let zoned = Options::driver("zoned-file").set("file", held.name());
    let zoned = graph.open_options(zoned, Default::default()).await.unwrap();
    (builder.graph(&graph).on_node(&zoned).unwrap(), hold)
}
