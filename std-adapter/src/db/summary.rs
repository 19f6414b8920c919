//! What a statement does to what: operations and targets, found in the stream of tokens.
//!
//! Input: tokens. Output: a [`QuerySummary`]. Bound: brackets 32 deep, 8 names of common table expressions, 255 bytes;
//! what is beyond is left out.

use super::text::{QuerySummary, Text};
use super::tokens::{Kind, Token};

/// What a statement may begin with. A text that begins otherwise is no SQL that we know, and what it begins with no
/// name to group by.
const STATEMENTS: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "MERGE",
    "CREATE",
    "ALTER",
    "DROP",
    "TRUNCATE",
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "ABORT",
    "SET",
    "RESET",
    "SHOW",
    "EXPLAIN",
    "DESCRIBE",
    "ANALYZE",
    "VACUUM",
    "REINDEX",
    "CALL",
    "EXECUTE",
    "EXEC",
    "PREPARE",
    "DEALLOCATE",
    "DECLARE",
    "FETCH",
    "CLOSE",
    "COPY",
    "LOCK",
    "UNLOCK",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "GRANT",
    "REVOKE",
    "PRAGMA",
    "ATTACH",
    "DETACH",
    "USE",
    "DO",
    "LOAD",
    "OPTIMIZE",
    "KILL",
    "TABLE",
    "VALUES",
    "DISCARD",
    "REFRESH",
    "COMMENT",
];
/// What a `FROM`, a `USING` or an `INTO` belongs to. Others have one too, but not with a table behind it.
const TAKES_FROM: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"];
/// What `CREATE` and its like make, where the name of it says something about the query.
const OBJECTS: &[&str] = &[
    "TABLE",
    "INDEX",
    "VIEW",
    "SCHEMA",
    "DATABASE",
    "SEQUENCE",
    "FUNCTION",
    "PROCEDURE",
    "TRIGGER",
    "TYPE",
    "EXTENSION",
    "DOMAIN",
];
/// What may stand between an operation and its target.
const BETWEEN: &[&str] = &[
    "IF",
    "NOT",
    "EXISTS",
    "ONLY",
    "IGNORE",
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "DELAYED",
    "QUICK",
    "LATERAL",
    "CONCURRENTLY",
    "OR",
    "REPLACE",
    "ROLLBACK",
    "ABORT",
    "FAIL",
    "TABLE",
    "INTO",
];
/// What ends the list behind `FROM`.
const ENDS_FROM: &[&str] = &[
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "FETCH",
    "FOR",
    "WINDOW",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SET",
    "RETURNING",
    "VALUES",
    "SELECT",
    "WHEN",
];

/// Brackets that are kept track of.
const DEPTH: usize = 32;
/// Names of common table expressions that are kept: no targets.
const NAMES: usize = 8;

/// What is known of a bracket.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// An operation has begun in it, so that a `FROM` is its own and not that of `extract(year FROM t)`.
    has_operation: bool,
    /// In the list behind `FROM`, where a comma brings the next target.
    in_from: bool,
}

/// What the next token is looked at as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first word of a statement.
    Statement,
    /// The kind of object behind `CREATE` and its like.
    Object,
    Target,
    /// A target that is part of a `FROM`: not one if a bracket follows, for then it is a function.
    Source,
    /// The name of a common table expression.
    TableName,
    Nothing,
}

pub(super) struct Summarizer<'a> {
    summary: Text<255>,
    is_full: bool,
    expect: Expect,
    frames: [Frame; DEPTH],
    depth: usize,
    /// In `WITH`, before the statement proper.
    in_with: bool,
    names: [&'a str; NAMES],
    name_count: usize,
    /// A target that more of may follow, behind a dot.
    target: Option<Target<'a>>,
    is_distinct: bool,
    last_is_open: bool,
}

#[derive(Clone, Copy)]
struct Target<'a> {
    parts: [&'a str; 3],
    count: usize,
    after_dot: bool,
    is_source: bool,
}

fn is_one_of(token: &Token<'_>, words: &[&str]) -> bool {
    token.kind == Kind::Word
        && words
            .iter()
            .any(|word| token.text.eq_ignore_ascii_case(word))
}

impl<'a> Summarizer<'a> {
    pub(super) fn new() -> Self {
        Summarizer {
            summary: Text::new(),
            is_full: false,
            expect: Expect::Statement,
            frames: [Frame::default(); DEPTH],
            depth: 0,
            in_with: false,
            names: [""; NAMES],
            name_count: 0,
            target: None,
            is_distinct: false,
            last_is_open: false,
        }
    }

    pub(super) fn finish(mut self) -> QuerySummary {
        self.end_target(false);
        QuerySummary(self.summary)
    }

    fn frame(&mut self) -> &mut Frame {
        let depth = self.depth.min(DEPTH - 1);
        // INVARIANT: below DEPTH.
        &mut self.frames[depth]
    }

    fn write(&mut self, parts: &[&str]) {
        let space = if self.summary.is_empty() { "" } else { " " };
        let mut all = [""; 6];
        all[0] = space;
        for (to, part) in all[1..].iter_mut().zip(parts) {
            *to = part;
        }
        // Once something is left out nothing follows: the order would be lost.
        self.is_full = self.is_full || !self.summary.push(&all);
    }

    /// The target is whole: `is_call` if a bracket follows.
    fn end_target(&mut self, is_call: bool) {
        let Some(target) = self.target.take() else {
            return;
        };
        let is_table_name = target.count == 1
            && self.names[..self.name_count]
                .iter()
                .any(|name| name.eq_ignore_ascii_case(target.parts[0]));
        if is_table_name || target.is_source && is_call {
            return;
        }
        match target.parts {
            [a, ..] if target.count == 1 => self.write(&[a]),
            [a, b, _] if target.count == 2 => self.write(&[a, ".", b]),
            [a, b, c] => self.write(&[a, ".", b, ".", c]),
        }
    }

    fn operation(&mut self, token: &Token<'a>) {
        self.write(&[token.text]);
        *self.frame() = Frame {
            has_operation: is_one_of(token, TAKES_FROM),
            in_from: is_one_of(token, &["UPDATE", "MERGE"]),
        };
    }

    pub(super) fn put(&mut self, token: &Token<'a>) {
        if self.is_full {
            return;
        }
        if !self.goes_on_with_target(token) {
            self.put_other(token);
        }
        self.is_distinct = token.is_word("DISTINCT");
        self.last_is_open = token.is("(");
    }

    /// Whether the token is a part of the target before it.
    fn goes_on_with_target(&mut self, token: &Token<'a>) -> bool {
        let Some(target) = &mut self.target else {
            return false;
        };
        if token.is(".") {
            target.after_dot = true;
            return true;
        }
        if target.after_dot
            && matches!(token.kind, Kind::Word | Kind::Quoted)
            && let Some(to) = target.parts.get_mut(target.count)
        {
            *to = token.text;
            target.count += 1;
            target.after_dot = false;
            return true;
        }
        self.end_target(token.is("("));
        false
    }

    fn put_other(&mut self, token: &Token<'a>) {
        match token.kind {
            Kind::Word => self.word(token),
            Kind::Quoted => match self.expect {
                Expect::Target | Expect::Source => self.begin_target(token.text),
                Expect::TableName => self.table_name(token.text),
                _ => {}
            },
            Kind::Mark => self.mark(token),
            _ => self.expect = Expect::Nothing,
        }
    }

    fn begin_target(&mut self, text: &'a str) {
        let is_source = self.expect == Expect::Source;
        self.expect = Expect::Nothing;
        self.target = Some(Target {
            parts: [text, "", ""],
            count: 1,
            after_dot: false,
            is_source,
        });
    }
    fn table_name(&mut self, text: &'a str) {
        self.expect = Expect::Nothing;
        if let Some(to) = self.names.get_mut(self.name_count) {
            *to = text;
            self.name_count += 1;
        }
    }

    fn mark(&mut self, token: &Token<'a>) {
        match token.text {
            "(" => {
                // A statement may stand in brackets: `(SELECT …) UNION (SELECT …)`.
                if self.expect != Expect::Statement {
                    self.expect = Expect::Nothing;
                }
                self.depth += 1;
                *self.frame() = Frame::default();
            }
            ")" => {
                self.depth = self.depth.saturating_sub(1);
                self.expect = if self.in_with && self.depth == 0 {
                    Expect::Statement
                } else {
                    Expect::Nothing
                };
            }
            "," if self.in_with && self.depth == 0 => self.expect = Expect::TableName,
            "," if self.frame().in_from => self.expect = Expect::Source,
            ";" => {
                self.depth = 0;
                *self.frame() = Frame::default();
                self.in_with = false;
                self.expect = Expect::Statement;
            }
            _ => self.expect = Expect::Nothing,
        }
    }

    fn word(&mut self, token: &Token<'a>) {
        match self.expect {
            Expect::Statement => return self.statement(token),
            Expect::TableName if token.is_word("RECURSIVE") => return,
            Expect::TableName => return self.table_name(token.text),
            Expect::Object => return self.object(token),
            Expect::Target | Expect::Source if is_one_of(token, BETWEEN) => return,
            Expect::Target | Expect::Source
                if !token.is_word("SELECT") && !token.is_word("VALUES") =>
            {
                return self.begin_target(token.text);
            }
            _ => {}
        }
        self.expect = Expect::Nothing;
        let begins_in_with = self.in_with && self.last_is_open;
        if token.is_word("SELECT") {
            self.operation(token);
        } else if begins_in_with && is_one_of(token, &["INSERT", "UPDATE", "DELETE", "MERGE"]) {
            self.statement(token);
        } else if token.is_word("FROM") && self.frame().has_operation && !self.is_distinct {
            self.frame().in_from = true;
            self.expect = Expect::Source;
        } else if token.is_word("USING") && self.frame().in_from {
            // Not of a join: there a bracket follows.
            self.expect = Expect::Source;
        } else if is_one_of(token, &["JOIN", "STRAIGHT_JOIN"]) {
            self.expect = Expect::Source;
        } else if token.is_word("INTO") && self.frame().has_operation {
            self.expect = Expect::Target;
        } else if is_one_of(token, ENDS_FROM) {
            self.frame().in_from = false;
        }
    }

    /// The first word of a statement, or of one inside another.
    fn statement(&mut self, token: &Token<'a>) {
        self.expect = Expect::Nothing;
        if token.is_word("WITH") {
            self.in_with = true;
            self.expect = Expect::TableName;
            return;
        }
        // Behind a common table expression in brackets: `) SEARCH DEPTH FIRST …`, `AS MATERIALIZED (`.
        if !is_one_of(token, STATEMENTS) {
            return;
        }
        if self.depth == 0 {
            self.in_with = false;
        }
        self.operation(token);
        self.expect = if is_one_of(token, &["CREATE", "ALTER", "DROP", "REFRESH"]) {
            Expect::Object
        } else if is_one_of(
            token,
            &[
                "TRUNCATE", "CALL", "EXEC", "EXECUTE", "TABLE", "COPY", "LOCK",
            ],
        ) {
            Expect::Target
        } else if token.is_word("UPDATE") {
            Expect::Target
        } else if is_one_of(token, &["EXPLAIN", "ANALYZE"]) {
            Expect::Statement
        } else {
            Expect::Nothing
        };
    }

    /// Behind `CREATE` and its like: `OR REPLACE TEMPORARY …`, up to the kind of object.
    fn object(&mut self, token: &Token<'a>) {
        if is_one_of(token, OBJECTS) {
            self.write(&[token.text]);
            self.expect = Expect::Target;
        } else if is_one_of(token, &["ROLE", "USER", "GROUP", "LOGIN"]) {
            self.write(&[token.text]);
            self.expect = Expect::Nothing;
        }
    }
}
