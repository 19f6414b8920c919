//! Who a device is, from constants.
//!
//! Input: names and versions. Output: a [`Hello`]. Bound: `N` bytes, worked out by the compiler where the parts
//! are constants; nothing is encoded at run time then.

use super::entry_code;
use super::session::{Hello, ResourceAttributes};
use crate::clock::TickRate;

/// What a device says of itself: the attributes of its OpenTelemetry resource, its build, its default scope.
///
/// `N` is the room for the attributes: each takes its key, its value and 4 bytes. What does not fit is left out,
/// and [`fits`](Self::fits) says so, at compile time if asked there.
///
/// The names are those of the semantic conventions; any other goes by [`with`](Self::with), such as `os.name`,
/// `host.arch`, `host.cpu.model.name`, `hw.serial_number`, `deployment.environment.name`. The gateway adds
/// `telemetry.sdk.*` and, if told to, `device.id`, which may be personal data.
///
/// A hello goes first on a link, again when the link was lost, and again when the host asks for it
/// (`Uplink` sees to that): its attributes travel once a session and not with every span.
///
/// ```
/// use spanlet::frame::{Hello, HexId, Identity};
/// use spanlet::TickRate;
///
/// static IDENTITY: Identity<200> = Identity::new("thermostat")
///     .with_service_version(env!("CARGO_PKG_VERSION"))
///     .with_manufacturer("acme")
///     .with_model("T-1000")
///     .with_firmware_version("1.4.2")
///     .with_build_id(b"1.4.2-17-ga1b2c3d")
///     .with("os.name", "embassy");
/// const _: () = assert!(IDENTITY.fits());
///
/// # let unique_id = [0x12, 0x34, 0xab];
/// let name = HexId::new(unique_id); // the number burnt into the part
/// let hello: Hello = IDENTITY.hello(name.as_str(), TickRate::MICROSECONDS);
/// assert_eq!(hello.device_id, "1234ab");
/// ```
#[derive(Clone, Debug)]
pub struct Identity<const N: usize> {
    attributes: [u8; N],
    len: usize,
    fits: bool,
    build_id: &'static [u8],
    capabilities: u32,
    scope_name: &'static str,
    scope_version: &'static str,
}

impl<const N: usize> Identity<N> {
    /// A device of this `service.name`, which is also the name of its default scope.
    #[must_use]
    pub const fn new(service_name: &'static str) -> Self {
        Identity {
            attributes: [0; N],
            len: 0,
            fits: true,
            build_id: &[],
            capabilities: 0,
            scope_name: service_name,
            scope_version: "",
        }
        .with("service.name", service_name)
        .with("telemetry.sdk.version", env!("CARGO_PKG_VERSION"))
    }
    /// Adds an attribute. Of one that is added twice, hosts take the first.
    #[must_use]
    pub const fn with(mut self, key: &str, value: &str) -> Self {
        // As an attribute entry of a record: code, no symbol, key, value.
        let (key_len, value_len) = (Length::of(key.len()), Length::of(value.len()));
        let needed = 2 + key_len.used + key.len() + value_len.used + value.len();
        if needed > N - self.len {
            self.fits = false;
            return self;
        }
        self.put(&[entry_code::TEXT, 0]);
        self.put_length(key_len);
        self.put(key.as_bytes());
        self.put_length(value_len);
        self.put(value.as_bytes());
        self
    }
    /// `service.version`.
    #[must_use]
    pub const fn with_service_version(self, version: &str) -> Self {
        self.with("service.version", version)
    }
    /// `service.namespace`.
    #[must_use]
    pub const fn with_service_namespace(self, namespace: &str) -> Self {
        self.with("service.namespace", namespace)
    }
    /// `device.manufacturer`: who made it.
    #[must_use]
    pub const fn with_manufacturer(self, name: &str) -> Self {
        self.with("device.manufacturer", name)
    }
    /// `device.model.identifier`: the machine-readable name of the model, such as a part number.
    #[must_use]
    pub const fn with_model(self, identifier: &str) -> Self {
        self.with("device.model.identifier", identifier)
    }
    /// `device.model.name`: the name that it is sold by.
    #[must_use]
    pub const fn with_model_name(self, name: &str) -> Self {
        self.with("device.model.name", name)
    }
    /// `hw.firmware_version`; also the version of the default scope, unless that is set.
    #[must_use]
    pub const fn with_firmware_version(mut self, version: &'static str) -> Self {
        if self.scope_version.is_empty() {
            self.scope_version = version;
        }
        self.with("hw.firmware_version", version)
    }
    /// The build: the linker's id ([`gnu_build_id`]), a commit, or a version; 32 bytes at most by convention. Hosts
    /// export it as `spanlet.build_id`, text as it is and other bytes in hex.
    #[must_use]
    pub const fn with_build_id(mut self, build_id: &'static [u8]) -> Self {
        self.build_id = build_id;
        self
    }
    /// The scope of spans that name none, instead of service name and firmware version.
    #[must_use]
    pub const fn with_scope(mut self, name: &'static str, version: &'static str) -> Self {
        self.scope_name = name;
        self.scope_version = version;
        self
    }
    /// What it can do: bits such as [`Hello::CLOCK`].
    #[must_use]
    pub const fn with_capabilities(mut self, capabilities: u32) -> Self {
        self.capabilities = capabilities;
        self
    }
    /// Whether all attributes found room.
    #[must_use]
    pub const fn fits(&self) -> bool {
        self.fits
    }
    /// The hello of a device by this name, unique among those of its operator. Costs nothing: it refers to what
    /// is there.
    #[must_use]
    pub const fn hello<'a>(&'a self, device_id: &'a str, tick_rate: TickRate) -> Hello<'a> {
        let attributes = match self.attributes.split_at_checked(self.len) {
            Some((attributes, _)) => attributes,
            None => &[],
        };
        Hello {
            device_id,
            build_id: self.build_id,
            tick_hz: tick_rate.as_hz(),
            capabilities: self.capabilities,
            scope_name: self.scope_name,
            scope_version: self.scope_version,
            scope_schema_url: "",
            resource: ResourceAttributes::encoded(attributes),
        }
    }
    const fn put_length(&mut self, length: Length) {
        if let Some((bytes, _)) = length.bytes.split_at_checked(length.used) {
            self.put(bytes);
        }
    }
    const fn put(&mut self, bytes: &[u8]) {
        let Some((_, mut room)) = self.attributes.split_at_mut_checked(self.len) else {
            return;
        };
        let mut rest = bytes;
        while let ([from, after @ ..], Some((to, behind))) = (rest, room.split_first_mut()) {
            *to = *from;
            (rest, room) = (after, behind);
        }
        self.len += bytes.len();
    }
}

/// A varint below 2^21, which is more than any frame has.
struct Length {
    bytes: [u8; 3],
    used: usize,
}

impl Length {
    #[expect(clippy::cast_possible_truncation, reason = "takes seven bits each")]
    const fn of(n: usize) -> Self {
        let [low, middle, high] = [
            n as u8 & 0x7f,
            (n >> 7) as u8 & 0x7f,
            (n >> 14) as u8 & 0x7f,
        ];
        match n {
            0..0x80 => Length {
                bytes: [low, 0, 0],
                used: 1,
            },
            0x80..0x4000 => Length {
                bytes: [low | 0x80, middle, 0],
                used: 2,
            },
            _ => Length {
                bytes: [low | 0x80, middle | 0x80, high],
                used: 3,
            },
        }
    }
}

/// The number of a part as text: lowercase hex.
///
/// ```
/// use spanlet::frame::HexId;
/// assert_eq!(HexId::new([0x00, 0xc0, 0xff, 0xee]).as_str(), "00c0ffee");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexId<const N: usize>([[u8; 2]; N]);

impl<const N: usize> HexId<N> {
    /// Of bytes in the order in which they are printed.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        const fn digit(nibble: u8) -> u8 {
            nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
        }
        let mut text = [[0; 2]; N];
        let (mut rest, mut room): (&[u8], &mut [[u8; 2]]) = (&bytes, &mut text);
        while let ([byte, after @ ..], Some((to, behind))) = (rest, room.split_first_mut()) {
            *to = [digit(*byte >> 4), digit(*byte & 15)];
            (rest, room) = (after, behind);
        }
        HexId(text)
    }
    /// Twice as many characters.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match core::str::from_utf8(self.0.as_flattened()) {
            Ok(text) => text,
            Err(_) => "",
        }
    }
}

/// The build id in a `.note.gnu.build-id` section, which linkers write when told `--build-id`: 20 bytes that are the
/// same for the same program only. `None` if the section holds anything else.
///
/// The section's place is the linker script's to name:
///
/// ```text
/// /* build-id.x, passed as -C link-arg=-Tbuild-id.x with -C link-arg=--build-id */
/// SECTIONS {
///   .note.gnu.build-id : {
///     __build_id_start = .; KEEP(*(.note.gnu.build-id)); __build_id_end = .;
///   } > FLASH
/// } INSERT AFTER .rodata;
/// ```
///
/// ```ignore
/// let note: &'static [u8] = unsafe { spanlet::linker_section!(__build_id_start, __build_id_end) };
/// let identity = IDENTITY.clone().with_build_id(gnu_build_id(note).unwrap_or_default());
/// ```
///
/// ```
/// use spanlet::frame::gnu_build_id;
/// let note = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\xab\xcd\xef\0";
/// assert_eq!(gnu_build_id(note), Some(&b"\xab\xcd\xef"[..]));
/// ```
#[must_use]
pub const fn gnu_build_id(note: &[u8]) -> Option<&[u8]> {
    // SPEC: System V ABI, "Note Section": sizes of name and content, type (3 for a build id), name, content.
    let [
        4,
        0,
        0,
        0,
        a,
        b,
        c,
        d,
        3,
        0,
        0,
        0,
        b'G',
        b'N',
        b'U',
        0,
        id @ ..,
    ] = note
    else {
        return None;
    };
    match id.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize) {
        Some((id, _)) if !id.is_empty() => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::frame::ResourceEncoder;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const FULL: Identity<256> = Identity::new("thermostat")
        .with_service_version("2.0")
        .with_service_namespace("lyon")
        .with_manufacturer("acme")
        .with_model("T-1000")
        .with_model_name("Thermo Thousand")
        .with_firmware_version("1.4.2")
        .with_build_id(b"\x01\x02")
        .with_capabilities(Hello::CLOCK)
        .with("os.name", "embassy");
    const _: () = assert!(FULL.fits());

    fn attributes(hello: &Hello<'_>) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let read = hello.resource.for_each(|kv| {
            let crate::Value::Str(text) = kv.value else {
                panic!("a text")
            };
            all.push((kv.key.to_string(), text.to_string()));
        });
        read.unwrap();
        all
    }

    #[test]
    fn what_is_said_is_what_arrives_by_its_conventional_name() {
        let hello = FULL.hello("t-17", TickRate::MILLISECONDS);
        let expected = [
            ("service.name", "thermostat"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
            ("service.version", "2.0"),
            ("service.namespace", "lyon"),
            ("device.manufacturer", "acme"),
            ("device.model.identifier", "T-1000"),
            ("device.model.name", "Thermo Thousand"),
            ("hw.firmware_version", "1.4.2"),
            ("os.name", "embassy"),
        ];
        let got = attributes(&hello);
        assert!(
            got.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
        assert_eq!((hello.device_id, hello.tick_hz), ("t-17", 1000));
        assert_eq!(
            (hello.build_id, hello.capabilities),
            (&[1, 2][..], Hello::CLOCK)
        );
        assert_eq!(
            (hello.scope_name, hello.scope_version),
            ("thermostat", "1.4.2")
        );
        let named = FULL
            .with_scope("fw", "9")
            .hello("", TickRate::MILLISECONDS)
            .scope_name
            .len();
        assert_eq!(named, 2);
    }

    #[test]
    fn the_bytes_are_those_of_the_encoder() {
        let long = "x".repeat(300);
        let identity = Identity::<512>::new("a").with("long", &long);
        let mut encoder: ResourceEncoder<512> = ResourceEncoder::new();
        assert!(encoder.add("service.name", "a"));
        assert!(encoder.add("telemetry.sdk.version", env!("CARGO_PKG_VERSION")));
        assert!(encoder.add("long", long.as_str()));
        let hello = identity.hello("", TickRate::MILLISECONDS);
        assert_eq!(hello.resource, encoder.attributes());
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        // 2 + 1 + 12 + 1 + 1 bytes for the name, 2 + 1 + 21 + 1 + 5 for the version.
        fn said<const N: usize>() -> (bool, usize) {
            let identity = Identity::<N>::new("a");
            let hello = identity.hello("", TickRate::MILLISECONDS);
            (identity.fits(), attributes(&hello).len())
        }
        assert_eq!(said::<0>(), (false, 0));
        assert_eq!(said::<16>(), (false, 0));
        assert_eq!(said::<17>(), (false, 1));
        assert_eq!(said::<40>(), (false, 1));
        assert_eq!(said::<47>(), (true, 2));
    }

    #[test]
    fn notes_that_are_none_are_refused() {
        let note = b"\x04\0\0\0\x02\0\0\0\x03\0\0\0GNU\0\xab\xcd\0\0";
        assert_eq!(gnu_build_id(note), Some(&b"\xab\xcd"[..]));
        for at in 0..16 {
            let mut other = *note;
            if (4..8).contains(&at) {
                other[at] = 0xff;
            } else {
                other[at] ^= 1;
            }
            assert_eq!(gnu_build_id(&other), None, "{at}");
        }
        for len in 0..18 {
            assert_eq!(gnu_build_id(note.split_at(len).0), None, "{len}");
        }
    }
}
