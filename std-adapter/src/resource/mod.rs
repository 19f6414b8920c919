//! The resource: what produces the spans, said once for all of them.
//!
//! Stage: start-up. Input: attributes from code, from the environment and from detectors. Output: one
//! [`Resource`], sent with each batch. Bound: detectors read a few small files of the system once; what they
//! do not find they leave out.
//!
//! What wins, from strong to weak: what the program sets, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`,
//! detectors (a later one before an earlier), the default of `service.name`. `telemetry.sdk.*` are always ours.
//! No detector runs unless it is asked for: each attribute is bytes in every batch, and a host's name or a
//! process's path tells more about a system than its owner may want to send.
//!
//! SPEC: Resource SDK; Resource semantic conventions.

mod detect;
mod held;

pub use detect::{
    ContainerDetector, HostDetector, OsDetector, ProcessDetector, ResourceDetector,
    ServiceInstanceDetector,
};

use crate::config::ResourceConfig;
use crate::trace::{AttributeValue, Attributes};
use core::fmt;
use held::Held;
use spanlet::{KeyValue, otlp};

/// Attributes of what produces the spans, each key once.
///
/// ```
/// use spanlet_std::resource::Resource;
/// let team = Resource::empty().with("team", "payments").with("replica", 3);
/// let merged = Resource::empty().with("team", "?").merge(team)?;
/// assert_eq!(merged.get("team").unwrap().to_string(), "payments");
/// assert_eq!(merged.iter().count(), 2);
/// # Ok::<(), spanlet_std::resource::SchemaConflictError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    attributes: Attributes,
    schema_url: String,
}

/// Two resources that follow different versions of the conventions.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaConflictError {
    /// The attributes of both, the updating ones before the others, without a schema.
    pub merged: Resource,
    /// The schema URLs, of the old and of the updating resource.
    pub schema_urls: [String; 2],
}

impl fmt::Display for SchemaConflictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, updating] = &self.schema_urls;
        write!(
            f,
            "a resource of schema {old} is merged with one of {updating}; the result has none"
        )
    }
}

impl core::error::Error for SchemaConflictError {}

impl Resource {
    /// No attributes and no schema.
    #[must_use]
    pub const fn empty() -> Self {
        Resource {
            attributes: Vec::new(),
            schema_url: String::new(),
        }
    }

    /// The same with an attribute, in place of an earlier value. An empty key is left out.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.set(key, value);
        self
    }

    /// The same with the URL of the semantic conventions that the keys follow.
    ///
    /// ```
    /// use spanlet_std::resource::Resource;
    /// let url = "https://opentelemetry.io/schemas/1.37.0";
    /// assert_eq!(Resource::empty().with_schema_url(url).schema_url(), url);
    /// ```
    #[must_use]
    pub fn with_schema_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.schema_url);
        self
    }

    /// Sets an attribute, in place of an earlier value. An empty key is left out.
    pub fn set(&mut self, key: &str, value: impl Into<AttributeValue>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None if key.is_empty() => {}
            None => self.attributes.push((key.to_owned(), value)),
        }
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        let found = self.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }

    /// Keys and values, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.iter().map(|(key, value)| (&**key, value))
    }

    /// The URL of the semantic conventions that the keys follow, or empty.
    #[must_use]
    pub fn schema_url(&self) -> &str {
        &self.schema_url
    }

    /// Both together; where a key is in both, the value of `updating` counts, an empty one too.
    ///
    /// The schema is that of the one that has one. SPEC: Resource SDK, "Merge".
    ///
    /// # Errors
    /// If both have a schema, and not the same. The error has the merged attributes.
    pub fn merge(mut self, updating: Resource) -> Result<Resource, SchemaConflictError> {
        for (key, value) in updating.attributes {
            self.set(&key, value);
        }
        if self.schema_url.is_empty() || self.schema_url == updating.schema_url {
            self.schema_url = updating.schema_url;
        } else if !updating.schema_url.is_empty() {
            let old = core::mem::take(&mut self.schema_url);
            return Err(SchemaConflictError {
                merged: self,
                schema_urls: [old, updating.schema_url],
            });
        }
        Ok(self)
    }

    /// As [`merge`](Self::merge); a conflict goes to standard error.
    pub(crate) fn merge_or_warn(self, updating: Resource) -> Resource {
        self.merge(updating).unwrap_or_else(|error| {
            eprintln!("spanlet: {error}");
            error.merged
        })
    }

    /// Hands the resource over as the encoder takes it. A list whose values are not all of one type, and a
    /// map, cannot be sent; they are counted as dropped.
    pub(crate) fn with_otlp<T>(&self, take: impl FnOnce(&otlp::Resource<'_>) -> T) -> T {
        let held: Vec<Held<'_>> = self.attributes.iter().map(|(_, v)| Held::of(v)).collect();
        let attributes: Vec<KeyValue<'_, &str>> = (self.attributes.iter().zip(&held))
            .filter_map(|((key, _), held)| {
                Some(KeyValue {
                    key: key.as_str(),
                    value: held.value()?,
                })
            })
            .collect();
        let dropped = self.attributes.len() - attributes.len();
        take(
            &otlp::Resource::new(&attributes)
                .with_schema_url(&self.schema_url)
                .with_dropped_attributes(u32::try_from(dropped).unwrap_or(u32::MAX)),
        )
    }
}

/// All of a process's resource: `set` in code, then the environment's, then what was detected, then the
/// defaults; and what every exporter must add.
pub(crate) fn of_process(
    detected: Resource,
    environment: &ResourceConfig,
    set: Resource,
) -> Resource {
    let strings = environment.attributes.iter();
    let environment = strings.fold(Resource::empty(), |to, (key, value)| {
        to.with(key, value.as_str())
    });
    let mut resource = Resource::empty();
    for part in [detected, environment, set] {
        resource = resource.merge_or_warn(part);
    }
    if resource.get("service.name").is_none() {
        // SPEC: Resource conventions, "service.name".
        let process = std::env::current_exe().ok();
        let name = process
            .as_deref()
            .and_then(|path| path.file_name()?.to_str())
            .map_or_else(
                || "unknown_service".into(),
                |name| format!("unknown_service:{name}"),
            );
        resource.set("service.name", name);
    }
    resource
        .with("telemetry.sdk.name", "spanlet")
        .with("telemetry.sdk.language", "rust")
        .with("telemetry.sdk.version", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests;
