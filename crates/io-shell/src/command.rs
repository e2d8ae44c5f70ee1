//! The commands: names, arguments, help.

use block_core::ZoneOp;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Read,
    ReadVectored,
    Write,
    WriteVectored,
    BackgroundRead,
    BackgroundWrite,
    BackgroundWait,
    Flush,
    Discard,
    ZoneReport,
    ZoneManage(ZoneOp),
    ZoneAppend,
    ZoneTable,
    Length,
    Truncate,
    Info,
    Stats,
    Sleep,
    Help,
    Quit,
}

/// A command's entry in the table.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// A short name, or nothing.
    pub(crate) alias: &'static str,
    pub(crate) verb: Verb,
    /// Options as for getopt; `None` where a word that begins with `-` is an operand.
    pub(crate) options: Option<&'static str>,
    /// Fewest and most words behind the name.
    pub(crate) words: (usize, Option<usize>),
    /// The arguments, for people.
    pub(crate) usage: &'static str,
    pub(crate) summary: &'static str,
    /// More lines for `help NAME`.
    pub(crate) details: &'static str,
}

impl Command {
    /// The command that a user calls by this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|c| c.name == name || (!c.alias.is_empty() && c.alias == name))
    }

    /// How to call it, in one line.
    pub(crate) fn synopsis(&self) -> String {
        let blank = if self.usage.is_empty() { "" } else { " " };
        format!("{}{blank}{} -- {}", self.name, self.usage, self.summary)
    }

    /// The same for a list of commands, with the short name.
    pub(crate) fn entry(&self) -> String {
        if self.alias.is_empty() {
            return self.synopsis();
        }
        let blank = if self.usage.is_empty() { "" } else { " " };
        format!("{}, {}{blank}{} -- {}", self.name, self.alias, self.usage, self.summary)
    }

    /// A complaint about the number of words, if it is wrong.
    pub(crate) fn wrong_count(&self, called: &str, given: usize) -> Option<String> {
        let (min, max) = self.words;
        if given >= min && max.is_none_or(|max| given <= max) {
            return None;
        }
        let expected = match max {
            None => format!("at least {min} arguments"),
            Some(max) if max == min => format!("{min} arguments"),
            Some(max) => format!("between {min} and {max} arguments"),
        };
        Some(format!("bad argument count {given} to {called}, expected {expected}"))
    }
}

/// Every command's name, in alphabetical order, without the short names.
pub fn command_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|c| c.name)
}

/// The commands whose names begin with `prefix`, for completion.
pub fn completions(prefix: &str) -> Vec<&'static str> {
    command_names().filter(|name| name.starts_with(prefix)).collect()
}

const fn zone_command(
    name: &'static str,
    alias: &'static str,
    op: ZoneOp,
    summary: &'static str,
) -> Command {
    Command {
        name,
        alias,
        verb: Verb::ZoneManage(op),
        options: None,
        words: (2, Some(2)),
        usage: "offset len",
        summary,
        details: "The range is whole zones. Over the whole device it skips conventional, read-only \
                  and offline\nzones; in any other range they are errors. Says nothing if it works.",
    }
}

const READ_OPTIONS: &str = "\
 -C    print the result in one line, for programs
 -P N  verify that every byte is N
 -q    print no result
 -v    print the bytes";

const WRITE_OPTIONS: &str = "\
 -C    print the result in one line, for programs
 -f    force unit access: durable when it returns
 -P N  write this byte instead of 0xcd
 -q    print no result";

/// In alphabetical order.
pub(crate) static COMMANDS: [Command; 23] = [
    Command {
        name: "aio_flush",
        alias: "",
        verb: Verb::BackgroundWait,
        options: None,
        words: (0, Some(0)),
        usage: "",
        summary: "wait for aio_read and aio_write, and print their results",
        details: "Results come in the order in which the requests were made. It fails if one of \
                  them failed.",
    },
    Command {
        name: "aio_read",
        alias: "",
        verb: Verb::BackgroundRead,
        options: Some("CpqrvP:"),
        words: (2, None),
        usage: "[-Cqv] [-P pattern] off len [len..]",
        summary: "read in the background, until aio_flush",
        details: READ_OPTIONS,
    },
    Command {
        name: "aio_write",
        alias: "",
        verb: Verb::BackgroundWrite,
        options: Some("CfnpqruzP:"),
        words: (2, None),
        usage: "[-Cfnquz] [-P pattern] off len [len..]",
        summary: "write in the background, until aio_flush",
        details: "Requests start in the order in which they were made.\n\
                  \x20-C    print the result in one line, for programs\n\
                  \x20-f    force unit access: durable when it returns\n\
                  \x20-n    with -z: fail rather than write zeroes one by one\n\
                  \x20-P N  write this byte instead of 0xcd\n\
                  \x20-q    print no result\n\
                  \x20-u    with -z: space may be given back\n\
                  \x20-z    write zeroes; takes one length",
    },
    Command {
        name: "discard",
        alias: "d",
        verb: Verb::Discard,
        options: Some("Cq"),
        words: (2, None),
        usage: "[-Cq] off len",
        summary: "say that a range is no longer needed",
        details: " -C    print the result in one line, for programs\n -q    print no result",
    },
    Command {
        name: "flush",
        alias: "f",
        verb: Verb::Flush,
        options: None,
        words: (0, Some(0)),
        usage: "",
        summary: "make durable what was written",
        details: "",
    },
    Command {
        name: "help",
        alias: "?",
        verb: Verb::Help,
        options: None,
        words: (0, Some(1)),
        usage: "[command]",
        summary: "explain one or all commands",
        details: "",
    },
    Command {
        name: "info",
        alias: "i",
        verb: Verb::Info,
        options: None,
        words: (0, Some(0)),
        usage: "",
        summary: "show the nodes, sizes and limits",
        details: "",
    },
    Command {
        name: "length",
        alias: "l",
        verb: Verb::Length,
        options: None,
        words: (0, Some(0)),
        usage: "",
        summary: "show the length",
        details: "",
    },
    Command {
        name: "quit",
        alias: "q",
        verb: Verb::Quit,
        options: None,
        words: (0, None),
        usage: "",
        summary: "leave",
        details: "",
    },
    Command {
        name: "read",
        alias: "r",
        verb: Verb::Read,
        options: Some("CpqrvP:s:l:"),
        words: (2, None),
        usage: "[-Cqv] [-P pattern [-s off] [-l len]] off len",
        summary: "read, verify or show a range",
        details: " -C    print the result in one line, for programs\n\
                  \x20-l N  with -P: verify so many bytes only\n\
                  \x20-P N  verify that every byte is N\n\
                  \x20-q    print no result\n\
                  \x20-s N  with -P: verify from this byte of the range on\n\
                  \x20-v    print the bytes\n\
                  Example: read -v 512 1k",
    },
    Command {
        name: "readv",
        alias: "",
        verb: Verb::ReadVectored,
        options: Some("CpqrvP:"),
        words: (2, None),
        usage: "[-Cqv] [-P pattern] off len [len..]",
        summary: "read into a buffer for each length",
        details: READ_OPTIONS,
    },
    Command {
        name: "report",
        alias: "",
        verb: Verb::ZoneTable,
        options: None,
        words: (0, Some(2)),
        usage: "[offset [number]]",
        summary: "show zones as a table, in bytes",
        details: "",
    },
    Command {
        name: "sleep",
        alias: "",
        verb: Verb::Sleep,
        options: None,
        words: (1, Some(1)),
        usage: "milliseconds",
        summary: "wait, for a day at most",
        details: "",
    },
    Command {
        name: "stats",
        alias: "",
        verb: Verb::Stats,
        options: None,
        words: (0, Some(0)),
        usage: "",
        summary: "show what every node has counted",
        details: "",
    },
    Command {
        name: "truncate",
        alias: "t",
        verb: Verb::Truncate,
        options: Some(""),
        words: (1, Some(1)),
        usage: "off",
        summary: "change the length",
        details: "",
    },
    Command {
        name: "write",
        alias: "w",
        verb: Verb::Write,
        options: Some("CfnpqruzP:s:"),
        words: (2, None),
        usage: "[-Cfnquz] [-P pattern | -s source_file] off len",
        summary: "fill a range",
        details: " -C    print the result in one line, for programs\n\
                  \x20-f    force unit access: durable when it returns\n\
                  \x20-n    with -z: fail rather than write zeroes one by one\n\
                  \x20-P N  write this byte instead of 0xcd\n\
                  \x20-q    print no result\n\
                  \x20-s F  write what is in file F, again and again\n\
                  \x20-u    with -z: space may be given back\n\
                  \x20-z    write zeroes\n\
                  Example: write -P 0xab 512 1k",
    },
    Command {
        name: "writev",
        alias: "",
        verb: Verb::WriteVectored,
        options: Some("CfpqrP:"),
        words: (2, None),
        usage: "[-Cfq] [-P pattern] off len [len..]",
        summary: "write from a buffer for each length",
        details: WRITE_OPTIONS,
    },
    Command {
        name: "zone_append",
        alias: "zap",
        verb: Verb::ZoneAppend,
        options: Some("fpqP:"),
        words: (2, None),
        usage: "[-fp] [-P pattern] offset len [len..]",
        summary: "write at the write pointer of the zone that starts at offset",
        details: " -f    force unit access: durable when it returns\n\
                  \x20-p    print where the data is, in sectors of 512 bytes\n\
                  \x20-P N  write this byte instead of 0xcd",
    },
    zone_command("zone_close", "zc", ZoneOp::Close, "close zones"),
    zone_command("zone_finish", "zf", ZoneOp::Finish, "make zones full"),
    zone_command("zone_open", "zo", ZoneOp::Open, "open zones explicitly"),
    Command {
        name: "zone_report",
        alias: "zrp",
        verb: Verb::ZoneReport,
        options: None,
        words: (2, Some(2)),
        usage: "offset number",
        summary: "show zones from the one that holds offset on, in sectors of 512 bytes",
        details: "Types: 1 conventional, 2 sequential write required, 3 sequential write preferred.\n\
                  Conditions: 0 no write pointer, 1 empty, 2 implicitly open, 3 explicitly open,\n\
                  4 closed, 13 read-only, 14 full, 15 offline.\n\
                  A zone whose write pointer has no meaning shows its end.",
    },
    zone_command("zone_reset", "zrs", ZoneOp::Reset, "make zones empty; their data is gone"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_names_are_unique() {
        let names: Vec<_> = command_names().collect();
        assert!(names.is_sorted(), "{names:?}");
        let mut all: Vec<_> = COMMANDS.iter().flat_map(|c| [c.name, c.alias]).collect();
        all.retain(|name| !name.is_empty());
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for command in &COMMANDS {
            assert_eq!(Command::find(command.name).map(|c| c.name), Some(command.name));
        }
        assert!(Command::find("").is_none());
    }

    #[test]
    fn completions_begin_with_what_was_typed() {
        assert_eq!(completions("zone_re"), ["zone_report", "zone_reset"]);
        assert_eq!(completions("").len(), COMMANDS.len());
        assert!(completions("nothing").is_empty());
    }

    #[test]
    fn counts_are_complained_about_as_qemu_io_does() {
        let complaint = |name: &str, given| {
            Command::find(name).and_then(|c| c.wrong_count(name, given)).unwrap_or_default()
        };
        assert_eq!(
            complaint("read", 0),
            "bad argument count 0 to read, expected at least 2 arguments"
        );
        assert_eq!(complaint("zrp", 1), "bad argument count 1 to zrp, expected 2 arguments");
        assert_eq!(
            complaint("help", 2),
            "bad argument count 2 to help, expected between 0 and 1 arguments"
        );
        assert_eq!(complaint("read", 100), "");
    }
}
