//! Carriers: whatever holds header fields, of any protocol.
//!
//! Input: a message's fields. Output: all values of one name, in order; the other way, one field set.
//! Bound: the carrier's own; nothing here copies on the way in.
//!
//! *All* values matter: a second `traceparent` makes both invalid, `tracestate` and `baggage` may be
//! split over several fields.

use core::fmt;

use heapless::{String, Vec};

/// Fields to read context from.
///
/// ```
/// use spanlet::context::Carrier;
/// let fields = [("Baggage", "a=1"), ("host", "x"), ("baggage", "b=2")];
/// let values: Vec<_> = fields.values("baggage").collect();
/// assert_eq!(values, [b"a=1", b"b=2"]);
/// ```
pub trait Carrier {
    /// Every value of a field, in the order in which they came. Names are compared without regard to
    /// ASCII case. Keys of protocols whose fields are text come as their UTF-8.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// Fields to write context into.
pub trait CarrierMut {
    /// Why a field cannot be set.
    type Error;

    /// Sets a field to one value, in place of all that it had. Names are lowercase, values ASCII.
    ///
    /// # Errors
    /// The carrier's own, such as having no room.
    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error>;
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Carrier for [(N, V)] {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(n, _)| n.as_ref().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const LEN: usize> Carrier for [(N, V); LEN] {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.as_slice().values(name)
    }
}

impl<C: Carrier + ?Sized> Carrier for &C {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        C::values(self, name)
    }
}

impl<C: CarrierMut + ?Sized> CarrierMut for &mut C {
    type Error = C::Error;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Self::Error> {
        C::set(self, name, value)
    }
}

/// A field did not fit into a [`FixedCarrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CarrierFull {
    /// Its name.
    pub name: &'static str,
}

impl fmt::Display for CarrierFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no room for field {}", self.name)
    }
}

impl core::error::Error for CarrierFull {}

/// Up to `FIELDS` fields of up to `BYTES` bytes each, in place.
///
/// ```
/// use spanlet::context::{Carrier, CarrierMut, FixedCarrier};
/// let mut fields = FixedCarrier::<2, 8>::new();
/// fields.set("a", "1").unwrap();
/// fields.set("a", "2").unwrap();
/// assert_eq!(fields.iter().collect::<Vec<_>>(), [("a", "2")]);
/// assert_eq!(fields.set("b", "too long!").unwrap_err().name, "b");
/// assert!(fields.values("A").eq([b"2"]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FixedCarrier<const FIELDS: usize, const BYTES: usize> {
    fields: Vec<(&'static str, String<BYTES>), FIELDS>,
}

impl<const FIELDS: usize, const BYTES: usize> FixedCarrier<FIELDS, BYTES> {
    /// No fields.
    pub const fn new() -> Self {
        FixedCarrier { fields: Vec::new() }
    }

    /// Names and values, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.fields.iter().map(|(name, value)| (*name, &**value))
    }
}

impl<const FIELDS: usize, const BYTES: usize> Carrier for FixedCarrier<FIELDS, BYTES> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.as_slice().values(name)
    }
}

impl<const FIELDS: usize, const BYTES: usize> CarrierMut for FixedCarrier<FIELDS, BYTES> {
    type Error = CarrierFull;

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), CarrierFull> {
        let value = String::try_from(value).map_err(|_| CarrierFull { name })?;
        let same = |(n, _): &&mut (&'static str, _)| n.eq_ignore_ascii_case(name);
        if let Some((_, old)) = self.fields.iter_mut().find(same) {
            *old = value;
            return Ok(());
        }
        self.fields
            .push((name, value))
            .map_err(|_| CarrierFull { name })
    }
}
