//! What two programs printed, made comparable.

use crate::script::Mark;

/// Both sides' output line by line, each line with who printed it. Common lines are as many as can
/// be; where the sides part, qemu-io's lines come first.
pub fn merge(qemu: &[String], zblk: &[String]) -> Vec<(Mark, String)> {
    // common[i][j]: the most lines that qemu[i..] and zblk[j..] have in common.
    let mut common = vec![vec![0_usize; zblk.len() + 1]; qemu.len() + 1];
    for i in (0..qemu.len()).rev() {
        for j in (0..zblk.len()).rev() {
            common[i][j] = match qemu[i] == zblk[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut merged = Vec::new();
    loop {
        match (qemu.get(i), zblk.get(j)) {
            (Some(q), Some(z)) if q == z => {
                merged.push((Mark::Both, q.clone()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(q), z) if z.is_none() || common[i + 1][j] >= common[i][j + 1] => {
                merged.push((Mark::Qemu, q.clone()));
                i += 1;
            }
            (_, Some(z)) => {
                merged.push((Mark::Zblk, z.clone()));
                j += 1;
            }
            _ => return merged,
        }
    }
}

/// How the lines begin that QEMU's driver logs.
const LOG: [&str; 5] = [
    "qemu-io: ioctl BLK",
    "qemu-io: number of sectors ",
    "qemu-io: sector offset ",
    "qemu-io: len of IOVector",
    "qemu-io: zone mgmt operations are not allowed for conventional zones",
];

/// A line without what differs from run to run; nothing for a line that does not count. This is all
/// that is taken away:
/// - times and rates of a transfer;
/// - the path of the device, which becomes `DEVICE`;
/// - what QEMU's driver logs beside the error that the command prints ([`LOG`]).
pub fn normalize(line: &str, device: &str) -> Option<String> {
    if LOG.iter().any(|log| line.starts_with(log)) {
        return None;
    }
    if let Some((head, tail)) = line.split_once(" ops; ")
        && tail.ends_with(" ops/sec)")
    {
        return Some(format!("{head} ops"));
    }
    if let Some(short) = compact(line) {
        return Some(short);
    }
    Some(line.replace(device, "DEVICE"))
}

/// `4096,1,0:00:00.00,16384.000,4.000` without the last three.
fn compact(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split(',').collect();
    let is_number = |text: &&&str| text.bytes().all(|b| b.is_ascii_digit() || b".:".contains(&b));
    match fields.as_slice() {
        [bytes, ops, time, ..] if fields.len() == 5 && time.contains(':') => {
            let numbers = fields.iter().filter(is_number).count();
            (numbers == 5).then(|| format!("{bytes},{ops}"))
        }
        _ => None,
    }
}

/// Takes apart what was printed by several commands with the command `length` between them. If the
/// program did not get through, all that it said is the last command's.
pub fn split(lines: Vec<String>, commands: usize) -> Vec<Vec<String>> {
    let between = lines.iter().filter(|line| is_size(line)).count();
    let mut parts = vec![Vec::new()];
    if between + 1 < commands {
        parts = vec![Vec::new(); commands];
        parts.pop();
        parts.push(lines);
        return parts;
    }
    for line in lines {
        if parts.len() < commands && is_size(&line) {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(line);
        }
    }
    parts
}

/// What `length` prints, and nothing else does: `24 MiB`.
fn is_size(line: &str) -> bool {
    let (number, unit) = line.split_once(' ').unwrap_or((line, ""));
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits && ["bytes", "KiB", "MiB", "GiB", "TiB"].contains(&unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn merged(qemu: &str, zblk: &str) -> String {
        let mark = |(mark, text): (Mark, String)| match mark {
            Mark::Both => text,
            Mark::Qemu => format!("-{text}"),
            Mark::Zblk => format!("+{text}"),
        };
        let all: Vec<_> = merge(&lines(qemu), &lines(zblk)).into_iter().map(mark).collect();
        all.join(" ")
    }

    #[test]
    fn common_lines_stay_common() {
        assert_eq!(merged("", ""), "");
        assert_eq!(merged("a b", "a b"), "a b");
        assert_eq!(merged("a b c", "a x c"), "a -b +x c");
        assert_eq!(merged("a", ""), "-a");
        assert_eq!(merged("", "a b"), "+a +b");
        assert_eq!(merged("a b c d", "b d e"), "-a b -c d +e");
        assert_eq!(merged("x", "y"), "-x +y");
    }

    #[test]
    fn times_rates_paths_and_logs_are_taken_away() {
        let line = |text| normalize(text, "/dev/nullb0");
        assert_eq!(
            line("4 KiB, 1 ops; 00.02 sec (249.5 KiB/sec and 62.3930 ops/sec)").unwrap(),
            "4 KiB, 1 ops"
        );
        assert_eq!(line("4096,1,0:00:00.00,16384.000,4.000").unwrap(), "4096,1");
        assert_eq!(line("open /dev/nullb0: no").unwrap(), "open DEVICE: no");
        assert_eq!(line("qemu-io: ioctl BLKRESETZONE failed -9"), None);
        for kept in
            ["write failed: Input/output error", "1,2,3,4,5", "a,b,c:d,e,f", "qemu-io: can't open"]
        {
            assert_eq!(line(kept).unwrap(), kept);
        }
    }

    #[test]
    fn lengths_part_the_commands() {
        let lines = |words: &[&str]| words.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let said = lines(&["a", "24 MiB", "24 MiB", "b", "c"]);
        assert_eq!(split(said, 3), [lines(&["a"]), lines(&[]), lines(&["b", "c"])]);
        assert_eq!(split(lines(&["24 MiB", "24 MiB"]), 2), [lines(&[]), lines(&["24 MiB"])]);
        assert_eq!(split(lines(&["can't open"]), 2), [lines(&[]), lines(&["can't open"])]);
        assert_eq!(split(lines(&[]), 1), [lines(&[])]);
    }
}
