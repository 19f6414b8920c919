//! Who a device is, and a span of it.
//!
//! Input: a hello. Output: what its spans need on their way out. Bound: the hello's frame.

use crate::clock::{ATTRIBUTE_ERROR, ATTRIBUTE_ERROR_BOUND, ClockError, ERROR_UNKNOWN};
use crate::trace::{AttributeValue, Attributes, TraceSpan, convert};
use spanlet::frame::{Epoch, Hello};
use spanlet::otlp::Resource;
use spanlet::{InstrumentationScope, KeyValue, SpanView, TickRate, UnixAnchor, Value};
use std::sync::Arc;

/// What a device said of itself for one epoch, its boot.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Its name among those of its operator.
    pub device_id: String,
    /// The boot.
    pub epoch: Epoch,
    /// Names its firmware; may be empty.
    pub build_id: Vec<u8>,
    /// The rate of its ticks.
    pub tick_rate: TickRate,
    /// See [`Hello::capabilities`].
    pub capabilities: u32,
    /// The scope of spans that carry none.
    pub scope_name: String,
    /// Its version, or empty.
    pub scope_version: String,
    /// Its schema, or empty.
    pub scope_schema_url: String,
    /// The resource as it is exported: the device's own attributes, and those that every exporter must add.
    pub resource: Arc<Attributes>,
    /// Opaque values among them: index and protobuf bytes.
    opaque: Vec<(usize, Vec<u8>)>,
}

impl DeviceInfo {
    /// `None` for a tick rate of 0 or a resource that cannot be read.
    pub(crate) fn new(hello: &Hello<'_>, epoch: Epoch, with_device_id: bool) -> Option<Self> {
        let mut resource = Attributes::new();
        let mut opaque = Vec::new();
        let read = hello.resource.for_each(|kv| {
            // The first of a key stays.
            if kv.key.is_empty() || resource.iter().any(|(key, _)| key == kv.key) {
                return;
            }
            if let Value::Any(bytes) = kv.value {
                opaque.push((resource.len(), bytes.to_vec()));
            }
            resource.push((kv.key.to_owned(), convert::value(kv.value)));
        });
        read.ok()?;
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() && resource.iter().all(|(known, _)| known != key) {
                resource.push((key.to_owned(), value.into()));
            }
        };
        // SPEC: Resource conventions, "service.name".
        add("service.name", "unknown_service");
        add("telemetry.sdk.name", "spanlet");
        add("telemetry.sdk.language", "rust");
        add("spanlet.build_id", &build_id_text(hello.build_id));
        if with_device_id {
            add("device.id", hello.device_id);
        }
        Some(DeviceInfo {
            device_id: hello.device_id.to_owned(),
            epoch,
            build_id: hello.build_id.to_vec(),
            tick_rate: hello.tick_rate()?,
            capabilities: hello.capabilities,
            scope_name: hello.scope_name.to_owned(),
            scope_version: hello.scope_version.to_owned(),
            scope_schema_url: hello.scope_schema_url.to_owned(),
            resource: Arc::new(resource),
            opaque,
        })
    }
    /// The resource's `service.name`.
    #[must_use]
    pub fn service(&self) -> &str {
        let name = self.resource.iter().find(|(key, _)| key == "service.name");
        match name {
            Some((_, AttributeValue::String(name))) => name,
            _ => "",
        }
    }
    /// The scope of spans that carry none.
    #[must_use]
    pub fn scope(&self) -> InstrumentationScope<'_> {
        InstrumentationScope::new(&self.scope_name)
            .with_version(&self.scope_version)
            .with_schema_url(&self.scope_schema_url)
    }
    /// Hands the resource over as the encoder takes it.
    pub(crate) fn with_resource<T>(&self, take: impl FnOnce(&Resource<'_>) -> T) -> T {
        let attributes: Vec<KeyValue<'_, &str>> = (self.resource.iter().enumerate())
            .filter_map(|(i, (key, value))| {
                let opaque = self.opaque.iter().find(|(at, _)| *at == i);
                let value = match (opaque, value) {
                    (Some((_, bytes)), _) => Value::Any(bytes),
                    (None, AttributeValue::String(text)) => Value::Str(text),
                    (None, AttributeValue::Bool(v)) => Value::Bool(*v),
                    (None, AttributeValue::I64(v)) => Value::I64(*v),
                    (None, AttributeValue::F64(v)) => Value::F64(*v),
                    (None, AttributeValue::Bytes(bytes)) => Value::Bytes(bytes),
                    // A hello has no arrays, and maps are opaque.
                    _ => return None,
                };
                Some(KeyValue {
                    key: key.as_str(),
                    value,
                })
            })
            .collect();
        take(&Resource::new(&attributes))
    }
}

/// A build id as text: as it is if it is one, else in hex.
fn build_id_text(build_id: &[u8]) -> String {
    match core::str::from_utf8(build_id) {
        Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ => hex::encode(build_id),
    }
}

/// A span of a device, on its way to a sink.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSpan<'a> {
    /// The span, in the device's ticks.
    pub view: SpanView<'a>,
    /// Maps its ticks to Unix time.
    pub anchor: UnixAnchor,
    /// How far start and end, so mapped, may be off the gateway's clock.
    pub clock_error: ClockError,
    /// Its number among the device's records of this epoch.
    pub sequence: u32,
    /// Whose it is.
    pub device: &'a Arc<DeviceInfo>,
}

impl DeviceSpan<'_> {
    /// An owned copy, for trees and waterfalls.
    #[must_use]
    pub fn to_trace_span(&self) -> TraceSpan {
        let scope = self.device.scope();
        let mut span =
            TraceSpan::from_view(&self.view, &self.anchor, &self.device.resource, &scope);
        if let Some(kv) = self.clock_attribute() {
            span.attributes
                .push((kv.key.to_owned(), convert::value(kv.value)));
        }
        span
    }
    /// What is exported of the clock's error.
    pub(crate) fn clock_attribute(&self) -> Option<KeyValue<'static, &'static str>> {
        Some(match self.clock_error {
            ClockError::Stated => return None,
            ClockError::Within(ns) => {
                KeyValue::new(ATTRIBUTE_ERROR_BOUND, i64::try_from(ns).unwrap_or(i64::MAX))
            }
            ClockError::Unknown => KeyValue::new(ATTRIBUTE_ERROR, ERROR_UNKNOWN),
        })
    }
}
