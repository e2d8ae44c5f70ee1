//! Data that says whose it is: each sector names its request, and its place in it.

/// What a sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    Zero,
    /// Sector `index` of what request `id` wrote.
    Data {
        id: u32,
        index: u32,
    },
    /// Nothing that anybody wrote.
    Garbage,
}

pub const SECTOR: usize = 512;
const MAGIC: u32 = 0x5EC7_0B10;

/// What a request writes.
pub fn data(id: u32, sectors: u64) -> Vec<u8> {
    let sectors = u32::try_from(sectors).unwrap();
    (0..sectors).flat_map(|index| encode(id, index)).collect()
}

fn encode(id: u32, index: u32) -> [u8; SECTOR] {
    let mut sector = [fill(id, index); SECTOR];
    sector[..4].copy_from_slice(&MAGIC.to_le_bytes());
    sector[4..8].copy_from_slice(&id.to_le_bytes());
    sector[8..12].copy_from_slice(&index.to_le_bytes());
    sector
}

fn fill(id: u32, index: u32) -> u8 {
    let [mixed, ..] = id.wrapping_mul(31).wrapping_add(index.wrapping_mul(7)).to_le_bytes();
    mixed | 1
}

/// What these sectors hold.
pub fn tags(bytes: &[u8]) -> Vec<Tag> {
    bytes.chunks(SECTOR).map(decode).collect()
}

fn decode(sector: &[u8]) -> Tag {
    if sector == [0; SECTOR] {
        return Tag::Zero;
    }
    let field = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().unwrap());
    let (id, index) = (field(4), field(8));
    if sector == encode(id, index) { Tag::Data { id, index } } else { Tag::Garbage }
}
