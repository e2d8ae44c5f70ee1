//! What is appended: blocks that say whose they are.

/// The length of a block in bytes; devices may have smaller ones.
pub const BLOCK: usize = 4096;
const MAGIC: u64 = 0x5EC0_4D5E_C04D_0001;

/// A record of several blocks, all told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    /// Which life of its zone it was written in.
    pub(crate) generation: u64,
    pub(crate) task: u64,
    pub(crate) number: u64,
}

/// One block of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) id: Id,
    pub(crate) index: u64,
    pub(crate) count: u64,
}

impl Block {
    fn encode(&self) -> Vec<u8> {
        let Id { generation, task, number } = self.id;
        let head = [MAGIC, generation, task, number, self.index, self.count];
        let mut bytes: Vec<u8> = head.iter().flat_map(|n| n.to_le_bytes()).collect();
        let filling = (task.wrapping_mul(31) ^ number.wrapping_mul(17) ^ self.index) as u8;
        bytes.resize(BLOCK - 4, filling);
        let sum = crc32c::crc32c(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// The block that these bytes are, if they are one in every byte.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |n: usize| bytes[n * 8..n * 8 + 8].try_into().map(u64::from_le_bytes).unwrap();
        let id = Id { generation: word(1), task: word(2), number: word(3) };
        let block = Self { id, index: word(4), count: word(5) };
        (block.encode() == bytes).then_some(block)
    }
}

/// All blocks of a record.
pub(crate) fn record(id: Id, count: u64) -> Vec<u8> {
    (0..count).flat_map(|index| Block { id, index, count }.encode()).collect()
}
