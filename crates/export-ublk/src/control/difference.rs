//! Whether a device that waits for a server is the one that would be made now.

use block_export::SECTOR;
use libublk::sys::{
    UBLK_ATTR_FUA, UBLK_ATTR_READ_ONLY, UBLK_ATTR_VOLATILE_CACHE, UBLK_F_USER_COPY,
    UBLK_PARAM_TYPE_DEVT, ublk_params,
};

/// How a device that is there differs from the one that would be made of this image, with these
/// options, and what to do about that: the rest of a sentence that begins with the device.
pub(super) fn difference(
    there: &ublk_params,
    here: &ublk_params,
    there_flags: u64,
    here_flags: u64,
) -> Option<String> {
    let copies = |flags: u64| flags & u64::from(UBLK_F_USER_COPY);
    let of_image = |what: String| {
        format!(
            "it is another device than this image: its {what}; export the image that it was made of"
        )
    };
    if has_grown(there, here) {
        let size = there.basic.dev_sectors.saturating_mul(SECTOR);
        return Some(format!(
            "it has {size} bytes, fewer than this image; if the image has become larger since, export \
             as much of it as then (driver=raw,size={size},...), else the image that it was made of"
        ));
    }
    // A device that takes no writes has other parameters too: first what is chosen.
    shape(there, here)
        .map(of_image)
        .or_else(|| options(there.basic.attrs, here.basic.attrs))
        .or_else(|| {
            let kinds = |params: &ublk_params| u64::from(params.types & !UBLK_PARAM_TYPE_DEVT);
            unequal("kind of parameters", kinds(there), kinds(here))
                .or_else(|| unequal("way of copying", copies(there_flags), copies(here_flags)))
                .map(of_image)
        })
}

fn unequal(what: &str, there: u64, here: u64) -> Option<String> {
    (there != here).then(|| format!("{what} is {there}, that of the image {here}"))
}

/// Whether it could be the image all the same, of which there is more now.
fn has_grown(there: &ublk_params, here: &ublk_params) -> bool {
    let mut as_then = *here;
    as_then.basic.dev_sectors = there.basic.dev_sectors;
    there.zoned.max_open_zones == 0
        && there.basic.chunk_sectors == 0
        && (1..here.basic.dev_sectors).contains(&there.basic.dev_sectors)
        && shape(there, &as_then).is_none()
}

fn shape(there: &ublk_params, here: &ublk_params) -> Option<String> {
    let (a, b) = (there.basic, here.basic);
    let (c, d) = (there.zoned, here.zoned);
    let facts: [(&str, u64, u64); 6] = [
        ("size in sectors", a.dev_sectors, b.dev_sectors),
        ("block size (log2)", a.logical_bs_shift.into(), b.logical_bs_shift.into()),
        ("zone size in sectors", a.chunk_sectors.into(), b.chunk_sectors.into()),
        ("limit of open zones", c.max_open_zones.into(), d.max_open_zones.into()),
        ("limit of active zones", c.max_active_zones.into(), d.max_active_zones.into()),
        (
            "largest append in sectors",
            c.max_zone_append_sectors.into(),
            d.max_zone_append_sectors.into(),
        ),
    ];
    facts.into_iter().find_map(|(what, there, here)| unequal(what, there, here))
}

/// What a user chose otherwise than when the device was made.
fn options(there: u32, here: u32) -> Option<String> {
    let differ = |bits: u32| (there ^ here) & bits != 0;
    let has = |bits: u32| there & bits != 0;
    let said = if differ(UBLK_ATTR_READ_ONLY) {
        match has(UBLK_ATTR_READ_ONLY) {
            true => "it was made read-only; export it read-only again",
            false => "it was made to be written; export it without read-only",
        }
    } else if differ(UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA) {
        match has(UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA) {
            true => {
                "it was made to be told when to make writes durable; export it without write-through"
            }
            false => {
                "it was made to make every write durable before it is answered; export it with \
                 recover, or write-through, as then"
            }
        }
    } else if there != here {
        let message = format!("its set of attributes is {there:#x}, and would be {here:#x}");
        return Some(format!("{message}; export it with the options that it was made with"));
    } else {
        return None;
    };
    Some(said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use libublk::sys::UBLK_ATTR_ROTATIONAL;

    fn says(change: fn(&mut ublk_params), word: &str) {
        let cached = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
        let mut here = ublk_params { types: 9, ..Default::default() };
        here.basic.attrs = cached;
        let mut there = here;
        change(&mut there);
        let said = difference(&there, &here, 0, 0).unwrap();
        assert!(said.contains(word), "{said}");
    }

    #[test]
    fn a_device_is_recovered_only_with_what_it_was_made_of() {
        let base = ublk_params { types: 9, ..Default::default() };
        let same = ublk_params { types: 9 | UBLK_PARAM_TYPE_DEVT, ..base };
        assert_eq!(difference(&same, &base, 0, 0), None);
        says(
            |p| p.basic.dev_sectors = 8,
            "another device than this image: its size in sectors is 8",
        );
        let mut here = base;
        here.basic.dev_sectors = 16;
        let mut there = here;
        there.basic.dev_sectors = 8;
        let said = difference(&there, &here, 0, 0).unwrap();
        assert!(said.contains("driver=raw,size=4096"), "{said}");
        // Of one that is smaller now there is nothing to be done.
        let said = difference(&here, &there, 0, 0).unwrap();
        assert!(!said.contains("driver=raw"), "{said}");
        says(|p| p.basic.logical_bs_shift = 12, "block size");
        says(|p| p.basic.chunk_sectors = 8, "zone size");
        says(|p| p.types = 1, "kind");
        says(|p| p.zoned.max_open_zones = 1, "open");
        says(|p| p.zoned.max_active_zones = 1, "active");
        says(|p| p.zoned.max_zone_append_sectors = 1, "append");
        assert!(difference(&base, &base, 0, 128).unwrap().contains("copying"));
    }

    #[test]
    fn other_options_are_told_as_such_and_not_as_another_image() {
        says(|p| p.basic.attrs = 0, "export it with recover, or write-through");
        says(|p| p.basic.attrs = UBLK_ATTR_READ_ONLY, "export it read-only again");
        // What takes no writes takes no discards either.
        says(
            |p| *p = ublk_params { types: 1, basic: p.basic, ..*p },
            "another device than this image: its kind",
        );
        let read_only = |p: &mut ublk_params| {
            p.types = 1;
            p.basic.attrs = UBLK_ATTR_READ_ONLY;
        };
        says(read_only, "read-only again");
        says(|p| p.basic.attrs |= UBLK_ATTR_ROTATIONAL, "attributes is");
        let (writable, cached) = (ublk_params::default(), UBLK_ATTR_VOLATILE_CACHE);
        let mut here = writable;
        here.basic.attrs = UBLK_ATTR_READ_ONLY;
        assert!(difference(&writable, &here, 0, 0).unwrap().contains("without read-only"));
        let mut there = writable;
        there.basic.attrs = cached;
        let said = difference(&there, &writable, 0, 0).unwrap();
        assert!(said.contains("export it without write-through"), "{said}");
    }
}
