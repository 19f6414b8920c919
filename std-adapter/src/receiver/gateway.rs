//! Devices, and where their spans go.
//!
//! Input: what [`LinkReceiver`]s decode. Output: spans to sinks, batches to exporters, the ledger. Bound: devices,
//! boots of a device, batches and queues; what finds no room is counted.

use super::device::{DeviceInfo, DeviceSpan};
use super::down::CommandError;
use super::ledger::{DeviceLedger, GatewayLedger, IntakeLedger};
use super::link::LinkReceiver;
use super::otlp_batch::{OtlpBatch, SCRATCH_BYTES};
use super::session::{Limits, Session};
use crate::clock::{ClockConfig, ClockMap};
use crate::config::BatchConfig;
use crate::export::SpanExporter;
use crate::export::queue::{Encoded, Fate, Queue};
use spanlet::frame::{Hello, Link};
use spanlet::{SpanContext, TickRate};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Boots of a device that are open at a time; the one that was silent for the longest makes room.
const EPOCHS: usize = 4;
/// Bytes of a batch at which it goes.
const BATCH_BYTES: usize = 1 << 20;
/// How often batches and what waits for texts are looked at.
const TURN: Duration = Duration::from_millis(50);

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Sink = Box<dyn FnMut(&DeviceSpan<'_>) + Send>;

pub(super) struct Settings {
    pub(super) batch: BatchConfig,
    pub(super) limits: Limits,
    pub(super) max_devices: usize,
    pub(super) export_device_id: bool,
    /// Bytes that a link holds until its device has said who it is.
    pub(super) hold_bytes: usize,
    pub(super) assumed_rate: Option<TickRate>,
    pub(super) boot_unix_ns: Option<u64>,
    pub(super) clock: ClockConfig,
    pub(super) ping_every: Duration,
}

/// Sets up a [`Gateway`].
#[must_use = "nothing is received before `start` or `bind`"]
pub struct GatewayBuilder {
    pub(super) settings: Settings,
    sinks: Vec<Sink>,
    exporters: Vec<Box<dyn SpanExporter>>,
    pub(super) allow_remote: bool,
    pub(super) max_connections: usize,
}

impl GatewayBuilder {
    /// Hands each span to `sink`, once, in the order in which texts and links allow. It is called under a
    /// lock that all links share: long work belongs elsewhere.
    pub fn sink(mut self, sink: impl FnMut(&DeviceSpan<'_>) + Send + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }
    /// Sends each span to this exporter, in OTLP requests by device. Again for more than one.
    pub fn exporter(mut self, exporter: impl SpanExporter + 'static) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }
    /// Sets queue, batch and delay, for each exporter. The default is 2,048 spans, 512 a batch, and 1 s.
    pub fn batch(mut self, batch: BatchConfig) -> Self {
        self.settings.batch = batch;
        self
    }
    /// How long (30 s) and in how many bytes of frames a boot (256 KiB) records wait for texts that were not
    /// announced yet. After that they go out with `sym:0x…` in their place.
    pub fn unresolved(mut self, wait: Duration, bytes: usize) -> Self {
        self.settings.limits = Limits { bytes, wait };
        self
    }
    /// At most so many devices (4,096) are known; frames of more are dropped and counted.
    pub fn max_devices(mut self, devices: usize) -> Self {
        self.settings.max_devices = devices;
        self
    }
    /// Exports the device's name as `device.id`. Off by default: it may be personal data.
    pub fn export_device_id(mut self, export: bool) -> Self {
        self.settings.export_device_id = export;
        self
    }
    /// Bytes of frames (256 KiB) that a link holds until its device has said who it is.
    pub fn hold_bytes(mut self, bytes: usize) -> Self {
        self.settings.hold_bytes = bytes;
        self
    }
    /// Takes records of devices that never say who they are when their link closes, as those of an unknown
    /// device with this tick rate. Without it they are dropped and counted.
    pub fn assume_tick_rate(mut self, rate: TickRate) -> Self {
        self.settings.assumed_rate = Some(rate);
        self
    }
    /// Says when tick 0 of every device was, in Unix nanoseconds, instead of finding it out from
    /// arrivals: for captures.
    pub fn boot_time(mut self, unix_ns: u64) -> Self {
        self.settings.boot_unix_ns = Some(unix_ns);
        self
    }
    /// What may be assumed of devices' clocks and links; error bounds rest on it.
    pub fn clock(mut self, clock: ClockConfig) -> Self {
        self.settings.clock = clock;
        self
    }
    /// How often devices that answer pings are asked for their time: 5 s. At first, and when a wall clock has been
    /// set, more often.
    pub fn ping_every(mut self, period: Duration) -> Self {
        self.settings.ping_every = period;
        self
    }
    /// TCP: listens at addresses that other machines reach. There is neither authentication nor encryption.
    pub fn allow_remote(mut self, allow: bool) -> Self {
        self.allow_remote = allow;
        self
    }
    /// TCP: at most so many connections at a time (64); more are closed and counted.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }
    /// Starts the gateway's threads: one, and one per exporter.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(self) -> std::io::Result<Gateway> {
        let destinations = (self.exporters.into_iter())
            .map(|exporter| Destination {
                queue: Queue::new(u64::from(self.settings.batch.max_queue_size)),
                exporter,
            })
            .map(Arc::new)
            .collect();
        let shared = Arc::new(Shared {
            settings: self.settings,
            devices: Mutex::default(),
            outlet: Mutex::new(Outlet {
                sinks: self.sinks,
                scratch: vec![0; SCRATCH_BYTES].into(),
            }),
            destinations,
            intake: Mutex::default(),
            stopping: Mutex::new(false),
            changed: Condvar::new(),
        });
        let mut gateway = Gateway {
            shared: shared.clone(),
            threads: Mutex::default(),
        };
        let mut threads = Vec::new();
        for destination in &shared.destinations {
            let (destination, budget) = (
                destination.clone(),
                shared
                    .settings
                    .batch
                    .export_timeout
                    .unwrap_or(Duration::MAX),
            );
            threads.push(
                std::thread::Builder::new()
                    .name("spanlet-send".into())
                    .spawn(move || destination.queue.send_all(&*destination.exporter, budget))?,
            );
        }
        threads.push(
            std::thread::Builder::new()
                .name("spanlet-gateway".into())
                .spawn(move || shared.run())?,
        );
        gateway.threads = Mutex::new(threads);
        Ok(gateway)
    }
}

struct Destination {
    queue: Queue,
    exporter: Box<dyn SpanExporter>,
}

struct Outlet {
    sinks: Vec<Sink>,
    scratch: Box<[u8]>,
}

/// A device over its boots.
#[derive(Default)]
struct Device {
    sessions: Vec<Arc<Mutex<Session>>>,
    /// Boots that made room.
    past: DeviceLedger,
    fates: Arc<[Arc<Fate>]>,
}

pub(super) struct Shared {
    pub(super) settings: Settings,
    devices: Mutex<BTreeMap<String, Device>>,
    outlet: Mutex<Outlet>,
    destinations: Vec<Arc<Destination>>,
    pub(super) intake: Mutex<IntakeLedger>,
    stopping: Mutex<bool>,
    changed: Condvar,
}

/// Takes the spans of devices and sends them on. [`link`](Self::link) makes the receivers that feed it.
///
/// Locks are taken in this order: devices, a boot, sinks; none is held while anything waits for a
/// network.
///
/// ```
/// use spanlet::drain::{Delivery, Drain};
/// use spanlet::frame::{Epoch, Hello, Link, Message, ResourceEncoder};
/// use spanlet::testing::ManualClock;
/// use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, Tracer};
/// use spanlet_std::receiver::{Arrival, Gateway};
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// let names = Arc::new(Mutex::new(Vec::new()));
/// let seen = names.clone();
/// let gateway = Gateway::builder()
///     .sink(move |span| seen.lock().unwrap().push(span.view.name().to_owned()))
///     .start()?;
/// let mut link = gateway.link("uart0");
///
/// // A device:
/// static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 4096> =
///     Tracer::new(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
/// TRACER.ids().set(7, 1);
/// let mut drain: Drain<1024, 16> = Drain::new(Epoch(1), Link::stream(), Delivery::OneWay);
/// let mut resource: ResourceEncoder<64> = ResourceEncoder::new();
/// assert!(resource.add("service.name", "thermostat"));
/// assert!(drain.message(&Message::Hello(Hello {
///     device_id: "kitchen",
///     build_id: b"1.2.3",
///     tick_hz: 1_000_000,
///     capabilities: 0,
///     scope_name: "fw",
///     scope_version: "",
///     scope_schema_url: "",
///     resource: resource.attributes(),
/// })));
/// drop(TRACER.span("read sensor").start::<InlineBuf<32>>());
/// let mut records = TRACER.records().expect("nobody else drains");
/// let mut bytes = [0; 1024];
/// let mut wire = &mut bytes[..];
/// drain.drain(&mut records, &mut wire, TRACER.clock(), 10).expect("there is room");
/// let left = wire.len();
///
/// link.feed(&bytes[..1024 - left], Arrival::now());
/// assert_eq!(*names.lock().unwrap(), ["read sensor"]);
/// let ledger = gateway.shutdown(Duration::from_secs(1));
/// assert_eq!(ledger.devices[0].device_id, "kitchen");
/// assert_eq!(ledger.devices[0].exported(), 1);
/// assert!(ledger.is_balanced());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Gateway {
    pub(super) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Gateway {
    /// A builder with the defaults that its methods name.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder {
            settings: Settings {
                batch: BatchConfig {
                    schedule_delay: Duration::from_secs(1),
                    max_queue_size: 2048,
                    max_export_batch_size: 512,
                    ..BatchConfig::default()
                },
                limits: Limits {
                    bytes: 256 << 10,
                    wait: Duration::from_secs(30),
                },
                max_devices: 4096,
                export_device_id: false,
                hold_bytes: 256 << 10,
                assumed_rate: None,
                boot_unix_ns: None,
                clock: ClockConfig::default(),
                ping_every: Duration::from_secs(5),
            },
            sinks: Vec::new(),
            exporters: Vec::new(),
            allow_remote: false,
            max_connections: 64,
        }
    }
    /// A receiver for one byte stream: a connection, a port, a file. `name` says which, for devices that do not
    /// say who they are.
    #[must_use]
    pub fn link(&self, name: &str) -> LinkReceiver {
        LinkReceiver::new(self.shared.clone(), name, Link::stream())
    }
    /// A receiver for one peer's datagrams (UDP, MQTT, LoRa), to which it answers with datagrams of at most
    /// `mtu` bytes.
    #[must_use]
    pub fn datagram_link(&self, name: &str, mtu: usize) -> LinkReceiver {
        LinkReceiver::new(self.shared.clone(), name, Link::datagrams(mtu))
    }
    /// Sends a command to a device: the application's bytes, and the span of `caller`, whose trace the device goes on
    /// with. At most once, to its newest boot; that it arrived shows in the device's span.
    ///
    /// Waits for the link's writer: over TCP, for as long as the device's side may take to read, which is 5 s.
    ///
    /// # Errors
    /// If nothing was sent, and why.
    ///
    /// ```
    /// use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};
    /// use spanlet_std::receiver::{CommandError, Gateway};
    /// # let (trace_id, span_id) = (TraceId::from_bytes([1; 16]).unwrap(), SpanId::from_bytes([2; 8]).unwrap());
    /// let gateway = Gateway::builder().start()?;
    /// let caller = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED);
    /// let sent = gateway.command("fan-0001", &caller, &[40]);
    /// assert!(matches!(sent, Err(CommandError::UnknownDevice)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn command(
        &self,
        device_id: &str,
        caller: &SpanContext,
        payload: &[u8],
    ) -> Result<(), CommandError> {
        let (down, epoch) = {
            let devices = lock(&self.shared.devices);
            let device = devices.get(device_id).ok_or(CommandError::UnknownDevice)?;
            let connected = device.sessions.iter().filter_map(|session| {
                let session = lock(session);
                let down = session.down.upgrade()?;
                Some((session.last_heard, down, session.info.clone()))
            });
            let newest = connected.max_by_key(|(last_heard, ..)| *last_heard);
            let (_, down, info) = newest.ok_or(CommandError::NotConnected)?;
            if info.capabilities & Hello::COMMANDS == 0 {
                return Err(CommandError::NotSupported);
            }
            (down, info.epoch)
        };
        down.command(epoch, caller, payload)
    }
    /// What became of all spans so far.
    #[must_use]
    pub fn ledger(&self) -> GatewayLedger {
        self.shared.ledger()
    }
    /// Sends what has come in so far. `false` if `timeout` ran out first.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        self.shared
            .each_session(|shared, session| shared.send(&mut session.batch, &session.fates));
        (self.shared.destinations.iter()).all(|d| d.queue.wait_idle(until))
    }
    /// Sends what there is, with what waits for texts, then stops. Returns the final ledger. Later calls only
    /// return the ledger. What links bring in afterwards is delivered to sinks, and lost to exporters.
    pub fn shutdown(&self, timeout: Duration) -> GatewayLedger {
        let until = Instant::now() + timeout;
        let threads = core::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return self.ledger();
        }
        *lock(&self.shared.stopping) = true;
        self.shared.changed.notify_all();
        self.shared.each_session(|shared, session| {
            let fates = session.fates.clone();
            session.give_up(&mut |batch, span| shared.deliver(&fates, batch, span));
            shared.send(&mut session.batch, &session.fates);
        });
        for destination in &self.shared.destinations {
            destination.queue.close(false);
            let left = until.saturating_duration_since(Instant::now());
            if !destination.queue.wait_idle(until) {
                // What it cuts short comes back as outcomes of its own.
                let _ = destination.exporter.shutdown(left);
                destination.queue.close(true);
            }
        }
        // A thread inside a name resolution cannot be interrupted; it is left to itself.
        for thread in threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                drop(thread.join());
            }
        }
        self.ledger()
    }
    /// The last error of each exporter that has one.
    pub fn last_errors(&self) -> Vec<String> {
        let mut unused = crate::recorder::Ledger::default();
        (self.shared.destinations.iter())
            .filter_map(|d| d.queue.read(&mut unused))
            .collect()
    }
}

impl core::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(5));
    }
}

impl Shared {
    /// The gateway's own thread: batches whose time has come, records that have waited too long.
    fn run(&self) {
        let mut stopping = lock(&self.stopping);
        while !*stopping {
            (stopping, _) = self
                .changed
                .wait_timeout(stopping, TURN)
                .unwrap_or_else(PoisonError::into_inner);
            if *stopping {
                return;
            }
            drop(stopping);
            self.each_session(|shared, session| {
                let fates = session.fates.clone();
                session.expire(Instant::now(), &mut |batch, span| {
                    shared.deliver(&fates, batch, span);
                });
                let is_due = (session.batch.as_ref())
                    .is_some_and(|b| b.since().elapsed() >= shared.settings.batch.schedule_delay);
                if is_due {
                    shared.send(&mut session.batch, &fates);
                }
            });
            stopping = lock(&self.stopping);
        }
    }
    fn each_session(&self, mut each: impl FnMut(&Self, &mut Session)) {
        let sessions: Vec<Arc<Mutex<Session>>> = (lock(&self.devices).values())
            .flat_map(|device| device.sessions.iter().cloned())
            .collect();
        for session in sessions {
            each(self, &mut lock(&session));
        }
    }
    /// A span of a boot whose lock is held.
    pub(super) fn deliver(
        &self,
        fates: &Arc<[Arc<Fate>]>,
        batch: &mut Option<OtlpBatch>,
        span: &DeviceSpan<'_>,
    ) {
        let mut outlet = lock(&self.outlet);
        let Outlet { sinks, scratch } = &mut *outlet;
        sinks.iter_mut().for_each(|sink| sink(span));
        if self.destinations.is_empty() {
            return;
        }
        if batch.as_ref().is_some_and(|b| !b.is_of(span.device)) {
            self.send(batch, fates);
        }
        let open = batch.get_or_insert_with(|| OtlpBatch::new(span.device));
        if !open.push(span, scratch) {
            fates.iter().for_each(|fate| fate.too_large());
            return;
        }
        fates.iter().for_each(|fate| fate.buffered());
        let max = u64::from(self.settings.batch.max_export_batch_size);
        if open.spans() >= max || open.bytes() >= BATCH_BYTES {
            self.send(batch, fates);
        }
    }
    fn send(&self, batch: &mut Option<OtlpBatch>, fates: &Arc<[Arc<Fate>]>) {
        let Some(batch) = batch.take().filter(|batch| batch.spans() != 0) else {
            return;
        };
        let (spans, body) = (batch.spans(), batch.finish());
        for (destination, owner) in self.destinations.iter().zip(fates.iter()) {
            destination.queue.push(Encoded {
                body: body.clone(),
                spans,
                owner: Some(owner.clone()),
            });
        }
    }
    /// The session of a device and boot, new or known. `None`: there are too many devices.
    pub(super) fn session(&self, info: DeviceInfo) -> Option<Arc<Mutex<Session>>> {
        let mut devices = lock(&self.devices);
        if !devices.contains_key(&info.device_id) && devices.len() >= self.settings.max_devices {
            return None;
        }
        let device = devices
            .entry(info.device_id.clone())
            .or_insert_with(|| Device {
                past: DeviceLedger {
                    device_id: info.device_id.clone(),
                    ..DeviceLedger::default()
                },
                fates: self.destinations.iter().map(|_| Arc::default()).collect(),
                ..Device::default()
            });
        for session in &device.sessions {
            let mut known = lock(session);
            if known.info.epoch == info.epoch {
                if *known.info != info {
                    known.info = Arc::new(info);
                }
                return Some(session.clone());
            }
        }
        if device.sessions.len() >= EPOCHS {
            let quiet = device.sessions.iter().enumerate();
            let quiet = quiet.min_by_key(|(_, session)| lock(session).last_heard);
            if let Some((at, _)) = quiet {
                let session = device.sessions.remove(at);
                self.retire(&mut lock(&session), &mut device.past);
            }
        }
        let session = self.open(Arc::new(info), device.fates.clone());
        device.sessions.push(session.clone());
        Some(session)
    }
    fn open(&self, info: Arc<DeviceInfo>, fates: Arc<[Arc<Fate>]>) -> Arc<Mutex<Session>> {
        let settings = &self.settings;
        let clock = ClockMap::new(info.tick_rate, settings.clock, settings.boot_unix_ns);
        let session = Session::new(info, settings.limits, clock, fates);
        Arc::new(Mutex::new(session))
    }
    /// Begins the boot of `old` anew: the device has restarted and kept its epoch.
    pub(super) fn restart(&self, old: &Arc<Mutex<Session>>) -> Arc<Mutex<Session>> {
        let mut devices = lock(&self.devices);
        let mut session = lock(old);
        let new = self.open(session.info.clone(), session.fates.clone());
        if let Some(device) = devices.get_mut(&session.info.device_id)
            && let Some(place) = device.sessions.iter_mut().find(|s| Arc::ptr_eq(s, old))
        {
            *place = new.clone();
            self.retire(&mut session, &mut device.past);
            return new;
        }
        // Retired meanwhile: whoever asks finds the present one by its next hello.
        drop(session);
        old.clone()
    }
    fn retire(&self, session: &mut Session, past: &mut DeviceLedger) {
        let fates = session.fates.clone();
        session.give_up(&mut |batch, span| self.deliver(&fates, batch, span));
        self.send(&mut session.batch, &fates);
        session.read(past);
        session.is_retired = true;
    }
    fn ledger(&self) -> GatewayLedger {
        let devices = lock(&self.devices);
        let mut texts_refused = 0;
        let devices = (devices.values())
            .map(|device| {
                let mut ledger = device.past.clone();
                // Held together, so that no span is between the counts.
                let sessions: Vec<_> = device.sessions.iter().map(|s| lock(s)).collect();
                for session in &sessions {
                    session.read(&mut ledger);
                    texts_refused += session.texts_refused;
                }
                ledger.destinations = device.fates.iter().map(|fate| fate.read()).collect();
                ledger
            })
            .collect();
        let mut intake = *lock(&self.intake);
        intake.texts_refused += texts_refused;
        GatewayLedger { devices, intake }
    }
}
