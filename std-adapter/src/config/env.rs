//! Typed reads of single variables, which turn what they cannot take into warnings.
//!
//! SPEC: OpenTelemetry Environment Variable Specification, "Configuration types".

use core::fmt;
use core::time::Duration;

/// A value that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// The variable.
    pub variable: String,
    /// Its value; `None` where it may hold a secret.
    pub value: Option<String>,
    /// What is wrong, and what stands instead.
    pub problem: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variable)?;
        if let Some(value) = &self.value {
            write!(f, "=\"{}\"", value.escape_debug())?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// A set, non-empty variable.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) variable: &'static str,
    pub(super) value: String,
}

/// The environment while it is being read.
pub(super) struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<ConfigWarning>,
}

impl<'a> Env<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Env {
            lookup,
            warnings: Vec::new(),
        }
    }

    pub(super) fn into_warnings(self) -> Vec<ConfigWarning> {
        self.warnings
    }

    /// Warns about a setting and shows its value.
    pub(super) fn warn(&mut self, setting: &Setting, problem: impl Into<String>) {
        self.warnings.push(ConfigWarning {
            variable: setting.variable.to_owned(),
            value: Some(setting.value.clone()),
            problem: problem.into(),
        });
    }

    /// Warns about a setting whose value may hold a secret.
    pub(super) fn warn_hidden(&mut self, variable: &str, problem: impl Into<String>) {
        self.warnings.push(ConfigWarning {
            variable: variable.to_owned(),
            value: None,
            problem: problem.into(),
        });
    }

    /// SPEC: "Parsing empty value": empty is unset. So is blank.
    pub(super) fn get(&mut self, variable: &'static str) -> Option<Setting> {
        let value = (self.lookup)(variable)?.trim().to_owned();
        (!value.is_empty()).then_some(Setting { variable, value })
    }

    /// Any value but a case-insensitive "true" is false.
    pub(super) fn boolean(&mut self, variable: &'static str) -> bool {
        let Some(setting) = self.get(variable) else {
            return false;
        };
        let value = setting.value.as_str();
        if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") {
            self.warn(&setting, "is neither true nor false; false stands");
        }
        value.eq_ignore_ascii_case("true")
    }

    /// A whole number of at least `least`; `None` if unset or not that.
    pub(super) fn integer(&mut self, variable: &'static str, least: u32) -> Option<u32> {
        let setting = self.get(variable)?;
        match digits(&setting.value) {
            Some(value) if value >= u64::from(least) => match u32::try_from(value) {
                Ok(value) => Some(value),
                Err(_) => {
                    self.warn(
                        &setting,
                        format!("is over {}; the default stands", u32::MAX),
                    );
                    None
                }
            },
            _ => {
                self.warn(
                    &setting,
                    format!("is not a whole number of at least {least}; the default stands"),
                );
                None
            }
        }
    }

    /// Milliseconds.
    pub(super) fn duration(&mut self, variable: &'static str) -> Option<Duration> {
        let setting = self.get(variable)?;
        let duration = digits(&setting.value).map(Duration::from_millis);
        if duration.is_none() {
            self.warn(
                &setting,
                "is not a whole number of milliseconds; the default stands",
            );
        }
        duration
    }

    /// Milliseconds, of which 0 is without limit: `Some(None)`.
    pub(super) fn timeout(&mut self, variable: &'static str) -> Option<Option<Duration>> {
        let duration = self.duration(variable)?;
        Some((!duration.is_zero()).then_some(duration))
    }

    /// The entries of a comma-separated list that `known` knows, each once, in order. "none" alone is
    /// the empty list. `None` if unset or without a known entry.
    pub(super) fn list<T: PartialEq>(
        &mut self,
        variable: &'static str,
        known: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let setting = self.get(variable)?;
        if setting.value == "none" {
            return Some(Vec::new());
        }
        let mut list = Vec::new();
        for entry in setting.value.split(',').map(str::trim) {
            match known(entry) {
                Ok(value) if !list.contains(&value) => list.push(value),
                Ok(_) => {}
                Err(problem) => {
                    self.warn(&setting, format!("\"{entry}\" {problem}; it is left out"))
                }
            }
        }
        if list.is_empty() {
            self.warn(&setting, "nothing is left of the list; the default stands");
            return None;
        }
        Some(list)
    }
}

/// Digits only: no sign, no point, no blank; a number past 64 bits is not one.
fn digits(value: &str) -> Option<u64> {
    if !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

/// Percent-decoding as strict as the specification: each `%` is followed by two hex digits, and the
/// result is UTF-8. `None` if not.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? << 4 | digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
}
