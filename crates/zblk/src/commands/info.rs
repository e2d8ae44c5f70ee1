//! `zblk info`

use crate::cli::ImageArgs;
use crate::error::Result;
use crate::image::Access;
use crate::output::Output;
use crate::output::style::{FAINT, HEADER, paint};
use crate::output::tree::Tree;
use crate::output::units::{limit, size};
use block_backend::block_core::{ImageSpec, NodeView};
use block_backend::{BlockBackend, Zone, ZoneCondition, ZonedLimits};
use clap::Args;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  zblk info disk.zbd
  zblk info driver=raw,offset=32M,file.driver=zoned-file,file.file.driver=file,file.file.filename=disk.zbd";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    image: ImageArgs,
}

#[derive(Serialize)]
struct InfoObject {
    length: u64,
    block_size: u32,
    /// Whether the image cannot be opened for writing; for this command it never is.
    read_only: bool,
    zoned: Option<ZonedObject>,
    nodes: Vec<NodeObject>,
    request_alignment: u32,
    max_transfer: u32,
}

#[derive(Serialize)]
struct ZonedObject {
    model: &'static str,
    zone_size: u64,
    nr_zones: u64,
    max_open_zones: u32,
    max_active_zones: u32,
    max_append_bytes: u64,
    write_granularity: u32,
    /// Of the first sequential zone.
    zone_capacity: Option<u64>,
    /// How many zones there are in each condition that any zone is in.
    conditions: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct NodeObject {
    name: String,
    driver: &'static str,
    children: Vec<String>,
    length: u64,
}

pub(crate) async fn run(args: &InfoArgs, output: &Output) -> Result<()> {
    let read_only = cannot_write(&args.image.image);
    let work = async |backend: &BlockBackend| {
        let object = InfoObject::new(backend, read_only).await?;
        Ok((object, tree(backend.root())))
    };
    let (object, tree) = args.image.with(Access::Read, work).await?;
    output.result(&object, || object.text(&tree, output.color()))
}

impl InfoObject {
    async fn new(backend: &BlockBackend, read_only: bool) -> Result<Self> {
        let zoned = match backend.zoned() {
            Some(limits) => {
                let zones = backend.report_zones(0, usize::MAX).await?;
                Some(ZonedObject::new(limits, &zones))
            }
            None => None,
        };
        let limits = backend.limits();
        let mut nodes = Vec::new();
        list(backend.root(), &mut nodes);
        Ok(Self {
            length: backend.length(),
            block_size: limits.block_size,
            read_only,
            zoned,
            nodes,
            request_alignment: limits.request_alignment,
            max_transfer: limits.max_transfer,
        })
    }

    fn text(&self, tree: &Tree, color: bool) -> String {
        let title = |text: &str| paint(color, HEADER, text);
        let exact = |bytes: u64| paint(color, FAINT, &format!("({bytes:#x})"));
        let mut lines = vec![title("Nodes")];
        lines.extend(tree.show().lines().map(|line| format!("  {line}")));
        lines.push(String::new());
        lines.push(title("Device"));
        let mut fact = |name: &str, value: String| lines.push(format!("  {name:<18} {value}"));
        let both = |bytes: u64| format!("{} {}", size(bytes), exact(bytes));
        fact("length", both(self.length));
        fact("block size", size(self.block_size.into()));
        if self.request_alignment != self.block_size {
            fact("request alignment", size(self.request_alignment.into()));
        }
        fact("largest transfer", limit(self.max_transfer.into(), size));
        let writable = if self.read_only { "no" } else { "yes" };
        fact("writable", writable.to_owned());
        match &self.zoned {
            None => fact("zones", "none".to_owned()),
            Some(zoned) => {
                lines.push(String::new());
                lines.push(title("Zones"));
                let facts = zoned.facts(&both).into_iter();
                lines.extend(facts.map(|(name, value)| format!("  {name:<18} {value}")));
            }
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

impl ZonedObject {
    fn new(limits: &ZonedLimits, zones: &[Zone]) -> Self {
        let mut conditions = BTreeMap::new();
        for zone in zones {
            let number: &mut u64 = conditions.entry(zone.condition.name()).or_default();
            *number = number.saturating_add(1);
        }
        let mut sequential = zones.iter().filter(|zone| zone.zone_type.is_sequential());
        Self {
            model: limits.model.name(),
            zone_size: limits.zone_size,
            nr_zones: limits.nr_zones,
            max_open_zones: limits.max_open_zones,
            max_active_zones: limits.max_active_zones,
            max_append_bytes: limits.max_append_bytes,
            write_granularity: limits.write_granularity,
            zone_capacity: sequential.next().map(|zone| zone.capacity),
            conditions,
        }
    }

    fn facts(&self, both: &dyn Fn(u64) -> String) -> Vec<(&'static str, String)> {
        let number = |n: u64| n.to_string();
        let mut facts = vec![
            ("model", self.model.to_owned()),
            ("number", self.nr_zones.to_string()),
            ("size", both(self.zone_size)),
        ];
        if let Some(capacity) = self.zone_capacity.filter(|c| *c != self.zone_size) {
            facts.push(("capacity", both(capacity)));
        }
        facts.extend([
            ("most open", limit(self.max_open_zones.into(), number)),
            ("most active", limit(self.max_active_zones.into(), number)),
            ("largest append", limit(self.max_append_bytes, size)),
            ("write granularity", size(self.write_granularity.into())),
            ("conditions", self.conditions_in_words()),
        ]);
        facts
    }

    fn conditions_in_words(&self) -> String {
        let words: Vec<_> = (0..=u8::MAX)
            .filter_map(ZoneCondition::from_code)
            .filter_map(|condition| {
                let number = self.conditions.get(condition.name())?;
                Some(match condition {
                    ZoneCondition::NotWritePointer => format!("{number} conventional"),
                    other => format!("{number} {other}"),
                })
            })
            .collect();
        words.join(", ")
    }
}

/// Every node once, parents before children.
fn list(node: NodeView<'_>, into: &mut Vec<NodeObject>) {
    if into.iter().any(|known| known.name == node.name()) {
        return;
    }
    let children = node.children();
    into.push(NodeObject {
        name: node.name().to_owned(),
        driver: node.driver_name(),
        children: children.iter().map(|c| c.name().to_owned()).collect(),
        length: node.length(),
    });
    for child in children {
        list(child, into);
    }
}

fn tree(node: NodeView<'_>) -> Tree {
    let text = format!("{}: {}, {}", node.name(), node.driver_name(), size(node.length()));
    let children = node.children().into_iter().map(|c| tree(c)).collect();
    Tree { text, children }
}

/// Whether the image's options or the access rights of its files forbid writing.
fn cannot_write(image: &str) -> bool {
    let forbidden = |path: &Path| access(path, AccessFlags::W_OK).is_err();
    match ImageSpec::parse(image) {
        Ok(ImageSpec::Path(path)) => forbidden(&path),
        Ok(ImageSpec::Options(options)) => {
            let text = options.to_string();
            let json = text.strip_prefix("json:").unwrap_or(&text);
            serde_json::from_str(json).is_ok_and(|tree| has_reason(&tree, &forbidden))
        }
        Err(_) => false,
    }
}

fn has_reason(tree: &Value, forbidden: &dyn Fn(&Path) -> bool) -> bool {
    let Value::Object(options) = tree else {
        return false;
    };
    options.iter().any(|(key, value)| match (key.as_str(), value) {
        ("read-only", Value::Bool(on)) => *on,
        ("read-only", Value::String(on)) => matches!(on.as_str(), "on" | "true" | "yes"),
        ("filename", Value::String(path)) => forbidden(Path::new(path)),
        (_, child) => has_reason(child, forbidden),
    })
}
