//! `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
//!
//! SPEC: Resource SDK, "Specifying resource information via an environment variable".

use super::env::{Env, percent_decode};
use core::fmt;

const SERVICE_NAME: &str = "service.name";

/// Resource attributes that the environment gives, all of them strings.
///
/// They are the secondary resource: where the program sets the same key, its value wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceConfig {
    /// Keys and values, decoded, each key once, in order.
    pub attributes: Vec<(String, String)>,
}

impl ResourceConfig {
    /// The value of `service.name`, if given.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        self.get(SERVICE_NAME)
    }

    /// The value of an attribute, if given.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// Sets an attribute, in place of an earlier value.
    pub fn set(&mut self, key: &str, value: &str) {
        match self.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.attributes.push((key.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn read(env: &mut Env<'_>) -> Self {
        let mut resource = ResourceConfig::default();
        if let Some(setting) = env.get("OTEL_RESOURCE_ATTRIBUTES") {
            match parse_resource_attributes(&setting.value) {
                Ok(parsed) => resource = parsed,
                // SPEC: "In case of any error … the entire environment variable value SHOULD be
                // discarded and an error SHOULD be reported".
                Err(error) => env.warn(&setting, format!("{error}; none of it is taken")),
            }
        }
        if let Some(name) = env.get("OTEL_SERVICE_NAME") {
            resource.set(SERVICE_NAME, &name.value);
        }
        resource
    }
}

/// What is wrong with a list of resource attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceError {
    /// An entry has no `=`.
    NoEquals {
        /// Which entry, counted from 1.
        entry: usize,
    },
    /// An entry has more than one `=`; in a value it is written `%3D`.
    BareEquals {
        /// Which entry, counted from 1.
        entry: usize,
    },
    /// An entry has nothing before the `=`.
    EmptyKey {
        /// Which entry, counted from 1.
        entry: usize,
    },
    /// A `%` without two hex digits, or bytes that are not UTF-8.
    BadEscape {
        /// Which entry, counted from 1.
        entry: usize,
    },
}

impl fmt::Display for ResourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceError::NoEquals { entry } => write!(f, "entry {entry} has no \"=\""),
            ResourceError::BareEquals { entry } => {
                write!(f, "entry {entry} has a second \"=\" (write %3D)")
            }
            ResourceError::EmptyKey { entry } => write!(f, "entry {entry} has no key"),
            ResourceError::BadEscape { entry } => {
                write!(f, "entry {entry} is not percent-encoded UTF-8")
            }
        }
    }
}

impl core::error::Error for ResourceError {}

/// Reads `key1=value1,key2=value2`, percent-decoded; a key that comes twice keeps its last value.
/// Empty entries (a comma at the end) are passed over.
///
/// # Errors
/// At the first entry that is not of this form; then nothing of the list counts.
///
/// ```
/// use spanlet_std::config::parse_resource_attributes;
/// let resource = parse_resource_attributes("a=1, team=pay%2Cments").unwrap();
/// assert_eq!(resource.get("team"), Some("pay,ments"));
/// assert!(parse_resource_attributes("a=1,b=%zz").is_err());
/// ```
pub fn parse_resource_attributes(list: &str) -> Result<ResourceConfig, ResourceError> {
    let mut resource = ResourceConfig::default();
    for (index, pair) in list.split(',').enumerate() {
        let entry = index + 1;
        if pair.trim().is_empty() {
            continue;
        }
        let (key, value) = pair
            .split_once('=')
            .ok_or(ResourceError::NoEquals { entry })?;
        if value.contains('=') {
            return Err(ResourceError::BareEquals { entry });
        }
        let decode =
            |text: &str| percent_decode(text.trim()).ok_or(ResourceError::BadEscape { entry });
        let (key, value) = (decode(key)?, decode(value)?);
        if key.is_empty() {
            return Err(ResourceError::EmptyKey { entry });
        }
        resource.set(&key, &value);
    }
    Ok(resource)
}
