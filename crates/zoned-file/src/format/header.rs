//! The header: what an image is, once and for all.

use super::layout::{Layout, PAGE_LEN, TABLE_OFFSET};
use super::page::{Decoder, Encoder, PageFault};
use zone_model::{Geometry, GeometryConfig};

pub(crate) const MAGIC: &[u8; 8] = b"ZBLKZONE";
const VERSION: u32 = 1;

/// A valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) image_id: [u8; 16],
    pub(crate) geometry: Geometry,
    pub(crate) layout: Layout,
    /// Length of the file when the image was made; at most the layout's.
    pub(crate) file_length: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderFault {
    #[error("{0}")]
    Page(PageFault),
    #[error("its version is {0}, and this program knows versions up to {VERSION}")]
    NewerVersion(u32),
    #[error("it uses features ({0:#x}) that this program does not know")]
    Features(u64),
    #[error("its geometry is impossible: {0}")]
    Geometry(String),
}

impl Header {
    /// The part of the id that every other page carries.
    pub(crate) fn short_id(&self) -> u64 {
        let mut short = [0; 8];
        short.copy_from_slice(self.image_id.split_at(8).0);
        u64::from_le_bytes(short)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let config = self.geometry.config();
        let mut page = Encoder::new(MAGIC);
        page.u32(VERSION);
        page.u32(u32::try_from(PAGE_LEN).unwrap_or(0));
        page.bytes(&self.image_id);
        page.u64(0);
        page.u64(0);
        page.u64(config.size);
        page.u64(config.zone_size);
        page.u64(self.geometry.zone_capacity());
        page.u64(config.conventional);
        page.u32(config.block_size);
        page.u32(config.max_open);
        page.u32(config.max_active);
        page.u32(0);
        page.u64(TABLE_OFFSET);
        page.u64(self.layout.data_offset);
        page.u64(self.file_length);
        page.finish()
    }

    pub(crate) fn decode(page: &[u8]) -> Result<Self, HeaderFault> {
        let mut fields = Decoder::unchecked(page, MAGIC).map_err(HeaderFault::Page)?;
        let version = fields.u32();
        let page_len = fields.u32();
        let image_id = fields.array();
        let incompatible = fields.u64();
        // A newer format may keep its checksum elsewhere: ask for the version first.
        if version > VERSION {
            return Err(HeaderFault::NewerVersion(version));
        }
        Decoder::check_sum(page).map_err(HeaderFault::Page)?;
        if incompatible != 0 {
            return Err(HeaderFault::Features(incompatible));
        }
        let _compatible = fields.u64();
        let config = GeometryConfig {
            size: fields.u64(),
            zone_size: fields.u64(),
            zone_capacity: Some(fields.u64()),
            conventional: fields.u64(),
            block_size: fields.u32(),
            max_open: fields.u32(),
            max_active: fields.u32(),
        };
        let reserved = fields.u32();
        let (table_offset, data_offset, file_length) = (fields.u64(), fields.u64(), fields.u64());
        let impossible = |e: String| HeaderFault::Geometry(e);
        let geometry = Geometry::new(&config).map_err(|e| impossible(e.to_string()))?;
        let layout = Layout::new(&geometry).map_err(|e| impossible(e.to_string()))?;
        let consistent = version == VERSION
            && page_len == u32::try_from(PAGE_LEN).unwrap_or(0)
            && reserved == 0
            && fields.rest_is_zero()
            && table_offset == TABLE_OFFSET
            && data_offset == layout.data_offset
            && (layout.data(geometry.conventional_end())..=layout.file_length)
                .contains(&file_length);
        if !consistent {
            return Err(impossible("its parts contradict one another".to_owned()));
        }
        Ok(Self { image_id, geometry, layout, file_length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let geometry = Geometry::new(&GeometryConfig {
            size: 10 << 20,
            zone_size: 3 << 20,
            zone_capacity: Some(2 << 20),
            conventional: 1,
            block_size: 512,
            max_open: 2,
            max_active: 3,
        })
        .unwrap();
        let layout = Layout::new(&geometry).unwrap();
        Header { image_id: [7; 16], geometry, layout, file_length: layout.file_length }
    }

    #[test]
    fn a_header_reads_back() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_change_of_any_bit_is_noticed() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(Header::decode(&good[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut page = header().encode();
        page[8] = 2;
        assert_eq!(Header::decode(&page), Err(HeaderFault::NewerVersion(2)));
    }

    #[test]
    fn a_well_formed_header_with_an_impossible_geometry_is_refused() {
        for (at, value) in [
            (56, 0_u64),
            (64, 1 << 40),
            (72, 99),
            (48, u64::MAX),
            (104, 4096),
            (112, 0),
            // A file that ends before the conventional zones do.
            (112, 1 << 20),
        ] {
            let mut page = header().encode();
            page.truncate(PAGE_LEN - 4);
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let crc = crc32c::crc32c(&page);
            page.extend_from_slice(&crc.to_le_bytes());
            assert!(
                matches!(Header::decode(&page), Err(HeaderFault::Geometry(_))),
                "field at {at}"
            );
        }
    }
}
