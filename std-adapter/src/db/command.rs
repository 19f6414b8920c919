//! `db.query.text` of redis' commands: names, keys and fields, without the values.
//!
//! Input: commands as lists of arguments, or packed for the wire. Output: text in a buffer on the stack. Bound: 2 KiB,
//! 64 arguments of a command, one pass.

use super::text::{TEXT, Text};
use redis::{Arg, Cmd, Pipeline};

/// Arguments of a command that are looked at.
const ARGUMENTS: usize = 64;
/// The longest key that is recorded as it is.
const KEY: usize = 128;
/// The longest name of a command.
const NAME: usize = 24;

/// A command or several.
pub(super) trait Commands {
    /// The arguments of each, its name first.
    fn commands(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>>;
    /// Whether they run as one transaction.
    fn is_transaction(&self) -> bool {
        false
    }
    /// Whether they were sent as a pipeline.
    fn is_pipeline(&self) -> bool {
        false
    }
}

fn arguments(cmd: &Cmd) -> impl Iterator<Item = &[u8]> {
    cmd.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        _ => b"0".as_slice(),
    })
}

impl Commands for Cmd {
    fn commands(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        core::iter::once(arguments(self))
    }
}
impl Commands for Pipeline {
    fn commands(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        self.cmd_iter().map(arguments)
    }
    fn is_transaction(&self) -> bool {
        Pipeline::is_transaction(self)
    }
    fn is_pipeline(&self) -> bool {
        true
    }
}

/// Commands as they are on the wire: arrays of bulk strings. What is not read so is left out.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    rest: &'a [u8],
    is_transaction: bool,
    is_pipeline: bool,
}

impl<'a> Packed<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
        const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
        match packed
            .strip_prefix(MULTI)
            .and_then(|rest| rest.strip_suffix(EXEC))
        {
            Some(rest) => Packed {
                rest,
                is_transaction: true,
                is_pipeline: true,
            },
            None => {
                let is_pipeline = PackedCommands(packed).nth(1).is_some();
                Packed {
                    rest: packed,
                    is_transaction: false,
                    is_pipeline,
                }
            }
        }
    }
}

impl Commands for Packed<'_> {
    fn commands(&self) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
        PackedCommands(self.rest)
    }
    fn is_transaction(&self) -> bool {
        self.is_transaction
    }
    fn is_pipeline(&self) -> bool {
        self.is_pipeline
    }
}

/// Takes a line that begins with `mark` and holds a number.
fn number(bytes: &mut &[u8], mark: u8) -> Option<usize> {
    let rest = bytes.strip_prefix(&[mark])?;
    let end = rest.iter().take(20).position(|&byte| byte == b'\r')?;
    let (digits, rest) = rest.split_at(end);
    *bytes = rest.strip_prefix(b"\r\n")?;
    core::str::from_utf8(digits).ok()?.parse().ok()
}
fn bulk<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = number(bytes, b'$')?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest.strip_prefix(b"\r\n")?;
    Some(text)
}

struct PackedCommands<'a>(&'a [u8]);

impl<'a> Iterator for PackedCommands<'a> {
    type Item = PackedArguments<'a>;
    fn next(&mut self) -> Option<PackedArguments<'a>> {
        let count = number(&mut self.0, b'*')?;
        let all = PackedArguments {
            rest: self.0,
            left: count,
        };
        for _ in 0..count {
            if bulk(&mut self.0).is_none() {
                self.0 = &[];
                break;
            }
        }
        Some(all)
    }
}

struct PackedArguments<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for PackedArguments<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        bulk(&mut self.rest)
    }
}

/// A name as it was given, if it is one: few different ones, so that spans can be grouped by it.
fn name_of(bytes: Option<&[u8]>) -> &str {
    let is_name = |bytes: &&[u8]| {
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=NAME).contains(&bytes.len()) && bytes.iter().all(is_part)
    };
    bytes
        .filter(is_name)
        .and_then(|bytes| core::str::from_utf8(bytes).ok())
        .unwrap_or("_OTHER")
}

/// `db.operation.name`.
///
/// SPEC: semantic conventions, Redis: of a batch `PIPELINE` or `MULTI`, with the name of its commands if they have one.
pub(super) fn name(commands: &impl Commands) -> Text<64> {
    let mut names = commands
        .commands()
        .map(|mut arguments| name_of(arguments.next()));
    let first = names.next().unwrap_or("_OTHER");
    let batch = match (commands.is_transaction(), commands.is_pipeline()) {
        (true, _) => "MULTI",
        (false, true) => "PIPELINE",
        (false, false) => "",
    };
    let mut text = Text::new();
    if batch.is_empty() {
        text.push(&[first]);
    } else if names.all(|name| name.eq_ignore_ascii_case(first)) {
        text.push(&[batch, " ", first]);
    } else {
        text.push(&[batch]);
    }
    text
}

/// Which of a command's arguments are keys or fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// None.
    Nothing,
    /// The first so many.
    First(usize),
    /// All.
    All,
    /// Every other one, behind the first so many, from the first of them on.
    Pairs(usize),
}

const ALL: &[&str] = &[
    "DEL",
    "UNLINK",
    "EXISTS",
    "TOUCH",
    "MGET",
    "WATCH",
    "RENAME",
    "RENAMENX",
    "RPOPLPUSH",
    "SDIFF",
    "SDIFFSTORE",
    "SINTER",
    "SINTERSTORE",
    "SUNION",
    "SUNIONSTORE",
    "PFCOUNT",
    "PFMERGE",
    "HGET",
    "HMGET",
    "HDEL",
    "HEXISTS",
    "HSTRLEN",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "SSUBSCRIBE",
    "LMOVE",
    "BLPOP",
    "BRPOP",
];
const TWO: &[&str] = &[
    "HINCRBY",
    "HINCRBYFLOAT",
    "HSETNX",
    "COPY",
    "SMOVE",
    "BRPOPLPUSH",
    "BLMOVE",
    "OBJECT",
    "MEMORY",
    "XGROUP",
    "XINFO",
];

const KEY_FIRST: &[&str] = &[
    "APPEND",
    "BITCOUNT",
    "BITFIELD",
    "BITFIELD_RO",
    "BITPOS",
    "DECR",
    "DECRBY",
    "DUMP",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "GEOADD",
    "GEODIST",
    "GEOHASH",
    "GEOPOS",
    "GEOSEARCH",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HGETALL",
    "HKEYS",
    "HLEN",
    "HRANDFIELD",
    "HSCAN",
    "HVALS",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "LINDEX",
    "LINSERT",
    "LLEN",
    "LPOP",
    "LPOS",
    "LPUSH",
    "LPUSHX",
    "LRANGE",
    "LREM",
    "LSET",
    "LTRIM",
    "MOVE",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PFADD",
    "PSETEX",
    "PTTL",
    "PUBLISH",
    "RESTORE",
    "RPOP",
    "RPUSH",
    "RPUSHX",
    "SADD",
    "SCARD",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "SISMEMBER",
    "SMEMBERS",
    "SMISMEMBER",
    "SORT",
    "SORT_RO",
    "SPOP",
    "SPUBLISH",
    "SRANDMEMBER",
    "SREM",
    "SSCAN",
    "STRLEN",
    "SUBSTR",
    "TTL",
    "TYPE",
    "XACK",
    "XADD",
    "XAUTOCLAIM",
    "XCLAIM",
    "XDEL",
    "XLEN",
    "XPENDING",
    "XRANGE",
    "XREVRANGE",
    "XSETID",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZINCRBY",
    "ZLEXCOUNT",
    "ZMSCORE",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZRANDMEMBER",
    "ZRANGE",
    "ZRANGEBYLEX",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREM",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "ZREVRANGE",
    "ZREVRANGEBYLEX",
    "ZREVRANGEBYSCORE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
];

fn kept(name: &str) -> Keep {
    let is_in = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if is_in(KEY_FIRST) {
        Keep::First(1)
    } else if is_in(&["HSET", "HMSET"]) {
        Keep::Pairs(1)
    } else if is_in(&["MSET", "MSETNX"]) {
        Keep::Pairs(0)
    } else if is_in(ALL) {
        Keep::All
    } else if is_in(TWO) {
        Keep::First(2)
    } else {
        // Scripts, passwords, settings, and names that are not known: a module's may have values where others have keys.
        Keep::Nothing
    }
}

impl Keep {
    /// Whether the argument at `index`, behind the name, is a key or field.
    fn keeps(self, index: usize) -> bool {
        match self {
            Keep::Nothing => false,
            Keep::First(count) => index < count,
            Keep::All => true,
            Keep::Pairs(first) => index < first || (index - first) % 2 == 0,
        }
    }
}

/// `db.query.text`: the commands as the command line takes them, values replaced by `?` if `sanitized`; those of a
/// pipeline behind each other with `; `.
pub(super) fn text(commands: &impl Commands, sanitized: bool) -> Text<TEXT> {
    let mut text = Text::new();
    for (number, mut arguments) in commands.commands().enumerate() {
        let name = name_of(arguments.next());
        let separator = if number == 0 { "" } else { "; " };
        if !text.push(&[separator, name]) || !put_arguments(&mut text, name, arguments, sanitized) {
            text.end_cut();
            break;
        }
    }
    text
}

/// Whether there was room.
fn put_arguments<'a>(
    text: &mut Text<TEXT>,
    name: &str,
    arguments: impl Iterator<Item = &'a [u8]>,
    sanitized: bool,
) -> bool {
    let keep = kept(name);
    for (index, argument) in arguments.enumerate() {
        if index == ARGUMENTS {
            return text.push(&[" ..."]);
        }
        let is_kept = !sanitized || keep.keeps(index);
        // A key that is no word would be taken for two, or for the end of the command.
        let word = core::str::from_utf8(argument)
            .ok()
            .filter(|word| is_kept && !word.is_empty() && word.len() <= KEY)
            .filter(|word| {
                !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == ';')
            });
        if !text.push(&[" ", word.unwrap_or("?")]) {
            return false;
        }
    }
    true
}
