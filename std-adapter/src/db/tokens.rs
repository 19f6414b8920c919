//! SQL cut into tokens, as far as it takes to tell literals from the rest.
//!
//! Input: a text and the dialect that it is in. Output: [`Token`]s in order, whitespace and comments left out. Bound:
//! one pass, each byte looked at a constant number of times, nothing kept.
//!
//! The dialect decides where a literal ends, so a wrong guess would take a literal's content for SQL. Where the text
//! alone does not tell (a backslash that one setting of the server takes for an escape and another does not, code in
//! MySQL's comments), the tokens end with [`Kind::Cut`], and the rest of the text is not looked at.

/// A kind of SQL, as far as literals differ.
///
/// ```
/// use spanlet_std::db::{Dialect, QueryText};
/// let sql = r#"SELECT "a" FROM t"#;
/// assert_eq!(QueryText::sanitize(Dialect::PostgreSql, sql).as_str(), sql);
/// // In MySQL this is a text, in SQLite it may be one.
/// assert_eq!(QueryText::sanitize(Dialect::MySql, sql).as_str(), "SELECT ? FROM t");
/// assert_eq!(QueryText::sanitize(Dialect::Sqlite, sql).as_str(), "SELECT ? FROM t");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL, and what speaks its language (CockroachDB, Redshift).
    PostgreSql,
    /// MySQL and MariaDB, with backslash escapes (their default).
    MySql,
    /// SQLite. A name in double quotes is taken for a literal, as SQLite may do, unless it stands behind `FROM`,
    /// `JOIN`, `INTO`, `UPDATE` or `TABLE`, or beside a dot.
    Sqlite,
    /// Standard SQL of an unknown kind: whatever may be a literal is taken for one.
    Other,
}

impl Dialect {
    /// Of a `db.system.name`.
    ///
    /// ```
    /// assert_eq!(spanlet_std::db::Dialect::of_system("mariadb"), spanlet_std::db::Dialect::MySql);
    /// ```
    pub fn of_system(name: &str) -> Self {
        match name {
            "postgresql" | "cockroachdb" | "aws.redshift" => Dialect::PostgreSql,
            "mysql" | "mariadb" => Dialect::MySql,
            "sqlite" => Dialect::Sqlite,
            _ => Dialect::Other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Quoted,
    /// A text, number, bit or byte string.
    Literal,
    /// A parameter: `?`, `$1`, `:name`, `@name`.
    Parameter,
    /// One character of anything else.
    Mark,
    /// The rest cannot be told apart.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Whether whitespace or a comment came before it.
    pub(super) is_spaced: bool,
}

impl Token<'_> {
    pub(super) fn is(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }
}

pub(super) struct Tokens<'a> {
    sql: &'a str,
    at: usize,
    dialect: Dialect,
    /// The last token was a word behind which only a name can stand.
    before_name: bool,
    /// The last token was `DISTINCT`: a `FROM` behind it is an operator.
    is_distinct: bool,
    after_dot: bool,
    is_done: bool,
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}
fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

impl<'a> Tokens<'a> {
    pub(super) fn new(dialect: Dialect, sql: &'a str) -> Self {
        Tokens {
            sql,
            at: 0,
            dialect,
            before_name: false,
            is_distinct: false,
            after_dot: false,
            is_done: false,
        }
    }

    /// The byte `ahead` of the present one; 0 behind the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.sql
            .as_bytes()
            .get(self.at + ahead)
            .copied()
            .unwrap_or(0)
    }
    fn is_end(&self) -> bool {
        self.at >= self.sql.len()
    }
    fn skip_while(&mut self, is: impl Fn(u8) -> bool) {
        while !self.is_end() && is(self.peek(0)) {
            self.at += 1;
        }
    }
    fn to_end(&mut self) {
        self.at = self.sql.len();
    }

    /// Skips whitespace and comments. `None` where they hide code.
    fn skip_space(&mut self) -> Option<bool> {
        let from = self.at;
        loop {
            self.skip_while(is_space);
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') if is_space(self.peek(2)) => self.skip_line(),
                // MySQL wants whitespace behind the dashes: `5--3` is 8.
                (b'-', b'-') if self.dialect == Dialect::MySql => return Some(self.at > from),
                (b'-', b'-') if self.dialect == Dialect::Other => return None,
                (b'-', b'-') => self.skip_line(),
                (b'#', _) if self.dialect == Dialect::MySql => self.skip_line(),
                (b'#', _) if self.dialect == Dialect::Other => return None,
                (b'/', b'*') => {
                    let is_code = matches!((self.peek(2), self.peek(3)), (b'!', _) | (b'M', b'!'));
                    if is_code && matches!(self.dialect, Dialect::MySql | Dialect::Other) {
                        return None;
                    }
                    if !self.skip_block_comment() {
                        return None;
                    }
                }
                _ => return Some(self.at > from),
            }
        }
    }
    fn skip_line(&mut self) {
        self.skip_while(|byte| byte != b'\n');
    }
    /// Whether it is sure where it ends.
    fn skip_block_comment(&mut self) -> bool {
        let nests = self.dialect == Dialect::PostgreSql;
        let mut depth = 0usize;
        while !self.is_end() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') if nests || depth == 0 => {
                    depth += 1;
                    self.at += 2;
                }
                (b'/', b'*') if self.dialect == Dialect::Other => return false,
                (b'*', b'/') => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.to_end();
        true
    }

    /// Behind the opening quote: up to behind the closing one. Whether it is sure which that is.
    fn skip_quoted(&mut self, quote: u8, escapes: bool) -> bool {
        let mut is_sure = true;
        while !self.is_end() {
            let byte = self.peek(0);
            self.at += 1;
            if byte == b'\\' && escapes {
                self.at = (self.at + 1).min(self.sql.len());
            } else if byte == b'\\' && self.peek(0) == quote {
                // By one setting of the server the text ends here, by another it goes on.
                is_sure &= matches!(self.dialect, Dialect::Sqlite);
            } else if byte == quote {
                if self.peek(0) != quote {
                    return is_sure;
                }
                self.at += 1;
            }
        }
        // Nothing is left that could be taken for SQL.
        true
    }
    fn text(&mut self, prefix: usize, escapes: bool) -> Kind {
        let quote = self.peek(prefix);
        self.at += prefix + 1;
        let escapes = escapes || self.dialect == Dialect::MySql;
        if self.skip_quoted(quote, escapes) {
            Kind::Literal
        } else {
            Kind::Cut
        }
    }
    fn name_until(&mut self, end: u8) -> Kind {
        self.at += 1;
        if end == b']' {
            self.skip_while(|byte| byte != b']');
            self.at = (self.at + 1).min(self.sql.len());
        } else {
            while !self.is_end() {
                let byte = self.peek(0);
                self.at += 1;
                if byte == end {
                    if self.peek(0) != end {
                        return Kind::Quoted;
                    }
                    self.at += 1;
                }
            }
        }
        Kind::Quoted
    }
    /// `"`: a name, or a text.
    fn double_quotes(&mut self, before_name: bool, after_dot: bool) -> Kind {
        match self.dialect {
            Dialect::PostgreSql => self.name_until(b'"'),
            Dialect::MySql => self.text(0, true),
            Dialect::Sqlite | Dialect::Other => match self.text(0, false) {
                Kind::Literal if before_name || after_dot || self.peek(0) == b'.' => Kind::Quoted,
                kind => kind,
            },
        }
    }
    fn number(&mut self) -> Kind {
        let is_decimal = !matches!(self.peek(1) | 0x20, b'x' | b'b' | b'o');
        while !self.is_end() {
            let byte = self.peek(0);
            // Whatever is glued to a number is taken for a part of it.
            if !(continues_word(byte) || byte == b'.') {
                break;
            }
            self.at += 1;
            let exponent = is_decimal && matches!(byte, b'e' | b'E');
            if exponent && matches!(self.peek(0), b'+' | b'-') && self.peek(1).is_ascii_digit() {
                self.at += 1;
            }
        }
        Kind::Literal
    }
    /// `$`: a parameter, a text in dollars, or nothing special.
    fn dollar(&mut self) -> Kind {
        let from = self.at;
        self.at += 1;
        self.skip_while(|byte| starts_word(byte) || byte.is_ascii_digit());
        let is_tag = !self
            .sql
            .as_bytes()
            .get(from + 1)
            .is_some_and(u8::is_ascii_digit);
        let may_quote = matches!(self.dialect, Dialect::PostgreSql | Dialect::Other);
        if may_quote && is_tag && self.peek(0) == b'$' {
            self.at += 1;
            if self.dialect == Dialect::Other {
                return Kind::Cut;
            }
            let quote = self.sql.get(from..self.at).unwrap_or_default();
            let rest = self.sql.get(self.at..).unwrap_or_default();
            match rest.find(quote) {
                Some(end) => self.at += end + quote.len(),
                None => self.to_end(),
            }
            return Kind::Literal;
        }
        if self.at == from + 1 {
            Kind::Mark
        } else {
            Kind::Parameter
        }
    }
    fn word(&mut self) -> Kind {
        let prefix = (self.peek(0) | 0x20, self.peek(1), self.peek(2));
        match prefix {
            (b'e', b'\'', _) if self.dialect == Dialect::PostgreSql => return self.text(1, true),
            (b'e', b'\'', _) if self.dialect == Dialect::Other => return self.text(1, false),
            (b'n' | b'b' | b'x', b'\'', _) => return self.text(1, false),
            (b'n' | b'b' | b'x', b'"', _) if self.dialect == Dialect::MySql => {
                return self.text(1, true);
            }
            (b'u', b'&', b'\'') if self.dialect != Dialect::MySql => return self.text(2, false),
            (b'u', b'&', b'"') if self.dialect == Dialect::PostgreSql => {
                self.at += 2;
                return self.name_until(b'"');
            }
            _ => {}
        }
        self.skip_while(continues_word);
        Kind::Word
    }

    /// `[` of an unknown kind: a mark, or a name in brackets, which may hold quotes.
    fn bracket(&mut self) -> Kind {
        // The longest name that SQL Server takes.
        const NAME: usize = 128;
        let rest = self.sql.as_bytes().get(self.at..).unwrap_or_default();
        let near = rest.get(..NAME).unwrap_or(rest);
        let name = near.split(|&byte| byte == b']').next().unwrap_or_default();
        if name.len() < near.len() && name.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`')) {
            return Kind::Cut;
        }
        self.at += 1;
        Kind::Mark
    }

    fn kind(&mut self, before_name: bool, after_dot: bool) -> Kind {
        let (byte, next) = (self.peek(0), self.peek(1));
        match byte {
            b'\'' => self.text(0, false),
            b'"' => self.double_quotes(before_name, after_dot),
            b'`' if matches!(self.dialect, Dialect::MySql | Dialect::Sqlite) => {
                self.name_until(b'`')
            }
            // Of an unknown kind it may be anything.
            b'`' if self.dialect == Dialect::Other => {
                self.name_until(b'`');
                Kind::Literal
            }
            b'[' if self.dialect == Dialect::Sqlite => self.name_until(b']'),
            b'[' if self.dialect == Dialect::Other => self.bracket(),
            b'0'..=b'9' => self.number(),
            b'.' if next.is_ascii_digit() && !after_dot => self.number(),
            b'$' => self.dollar(),
            b'?' => {
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
                Kind::Parameter
            }
            b':' | b'@' if starts_word(next) => {
                self.at += 1;
                self.skip_while(continues_word);
                Kind::Parameter
            }
            // A cast, so that its type is not taken for a parameter.
            b':' if next == b':' => {
                self.at += 2;
                Kind::Mark
            }
            _ if starts_word(byte) => self.word(),
            _ => {
                self.at += 1;
                Kind::Mark
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if self.is_done {
            return None;
        }
        let from = self.at;
        let Some(is_spaced) = self.skip_space() else {
            self.is_done = true;
            return Some(Token {
                kind: Kind::Cut,
                text: "",
                is_spaced: self.at > from,
            });
        };
        if self.is_end() {
            return None;
        }
        let from = self.at;
        let (before_name, after_dot) = (self.before_name, self.after_dot);
        let kind = self.kind(before_name, after_dot);
        self.is_done = kind == Kind::Cut;
        // Tokens begin and end at ASCII, or at the ends of words, which take whole characters.
        let text = self.sql.get(from..self.at).unwrap_or_default();
        let token = Token {
            kind,
            text,
            is_spaced,
        };
        self.before_name = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE"]
            .iter()
            .any(|word| token.is_word(word))
            && !(self.is_distinct && token.is_word("FROM"));
        self.is_distinct = token.is_word("DISTINCT");
        self.after_dot = token.is(".");
        Some(token)
    }
}
