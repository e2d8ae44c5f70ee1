//! A tree of files, changed for a while, and what must be in it.

use crate::pattern::{self, Random};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The files that must be there, with the seed and length of each.
#[derive(Default)]
pub struct Tree {
    files: BTreeMap<u64, (u64, usize)>,
    next: u64,
}

impl Tree {
    /// An empty tree whose first file will have this name.
    pub fn starting_at(next: u64) -> Self {
        Self { files: BTreeMap::new(), next }
    }

    pub fn next_name(&self) -> u64 {
        self.next
    }

    /// A line for each file, of which [`Tree::read`] makes the tree again.
    pub fn lines(&self) -> String {
        let line = |(name, (seed, len)): (&u64, &(u64, usize))| format!("{name} {seed} {len}\n");
        self.files.iter().map(line).collect()
    }

    /// The tree of these lines.
    pub fn read(lines: &[Vec<u64>]) -> Self {
        let mut tree = Self::default();
        for line in lines {
            let &[name, seed, len] = line.as_slice() else { panic!("a file's line: {line:?}") };
            tree.files.insert(name, (seed, len as usize));
            tree.next = tree.next.max(name + 1);
        }
        tree
    }

    /// Takes the files of a later tree.
    pub fn take_over(&mut self, later: Self) {
        self.next = later.next;
        self.files.extend(later.files);
    }

    /// Writes files until there are `total` more bytes; a third of the files is removed and a third
    /// of the rest overwritten on the way.
    pub fn fill(&mut self, folder: &Path, random: &mut Random, total: u64) {
        let mut written = 0;
        while written < total {
            written += self.write_one(folder, random, false).unwrap();
            match random.below(3) {
                0 => self.remove_one(folder, random),
                1 => written += self.overwrite_one(folder, random),
                _ => {}
            }
        }
    }

    /// Writes a new file, durably if `sync`; gives its length.
    pub fn write_one(&mut self, folder: &Path, random: &mut Random, sync: bool) -> io::Result<u64> {
        let name = self.next;
        self.next += 1;
        self.write(folder, name, random, sync)
    }

    fn write(
        &mut self,
        folder: &Path,
        name: u64,
        random: &mut Random,
        sync: bool,
    ) -> io::Result<u64> {
        // Small ones, and large ones that go over zones.
        let limit = if random.below(8) == 0 { 1 << 18 } else { 1 << 13 };
        let (seed, len) = (random.below(u64::MAX), 8 * (1 + random.below(limit)) as usize);
        // Until it is written it may be anything.
        self.files.remove(&name);
        let mut file = File::create(path(folder, name))?;
        file.write_all(&pattern::bytes(seed, 0, len))?;
        if sync {
            file.sync_all()?;
        }
        self.files.insert(name, (seed, len));
        Ok(len as u64)
    }

    fn some(&self, random: &mut Random) -> Option<u64> {
        let count = self.files.len() as u64;
        (count > 0).then(|| *self.files.keys().nth(random.below(count) as usize).unwrap())
    }

    fn remove_one(&mut self, folder: &Path, random: &mut Random) {
        if let Some(name) = self.some(random) {
            self.files.remove(&name);
            fs::remove_file(path(folder, name)).unwrap();
        }
    }

    fn overwrite_one(&mut self, folder: &Path, random: &mut Random) -> u64 {
        self.some(random).map_or(0, |name| self.write(folder, name, random, false).unwrap())
    }

    /// Reads all of them; gives their number.
    pub fn verify(&self, folder: &Path) -> usize {
        for (&name, &(seed, len)) in &self.files {
            let found = fs::read(path(folder, name)).unwrap_or_else(|e| panic!("file {name}: {e}"));
            assert_eq!(found.len(), len, "length of file {name}");
            pattern::check(&format!("file {name}"), seed, 0, &found);
        }
        self.files.len()
    }
}

fn path(folder: &Path, name: u64) -> std::path::PathBuf {
    folder.join(format!("file-{name}"))
}
