//! Devices over real TCP: each span comes out once or is in the ledger, whatever happens to the link.
//!
//! Long, as each test is one thing that happens to a link; they share one world and no state.

mod devices;

use devices::{
    DeviceSpan, DeviceTracer, device, device_on, tracer, tracer_with_ring, unix_ns, wait_until,
    work, work_of_a_library,
};
use spanlet::drain::Delivery;
use spanlet::frame::Link;
use spanlet_std::clock::{ATTRIBUTE_ERROR, ERROR_UNKNOWN};
use spanlet_std::config::BatchConfig;
use spanlet_std::export::{Batch, ExportOutcome, ShutdownReport, SpanExporter};
use spanlet_std::receiver::{BindError, Gateway, GatewayLedger};
use spanlet_std::trace::{AttributeValue, TraceSpan};
use spanlet_tests::faults::Faults;
use spanlet_tests::proxy::{Mode, Proxy};
use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const ACKNOWLEDGED: Delivery = Delivery::Acknowledged {
    resend_after_ticks: 15_000,
};

/// Everything wrong on the way up, of a million frames (bytes).
const FAULTS: Faults = Faults {
    corrupt: 300,
    drop: 60_000,
    duplicate: 40_000,
    reorder: 40_000,
    truncate: 60_000,
    garbage: 40_000,
};

type Spans = Arc<Mutex<Vec<TraceSpan>>>;

fn collected() -> (
    Spans,
    impl FnMut(&spanlet_std::receiver::DeviceSpan<'_>) + Send + 'static,
) {
    let spans = Spans::default();
    let to = spans.clone();
    (spans, move |span| {
        to.lock().unwrap().push(span.to_trace_span())
    })
}
fn take(spans: &Spans) -> Vec<TraceSpan> {
    core::mem::take(&mut spans.lock().unwrap_or_else(PoisonError::into_inner))
}

#[test]
fn a_device_over_tcp() {
    let (spans, sink) = collected();
    let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
    let tracer = tracer(1);
    let mut kitchen = device("kitchen", 1, Delivery::OneWay, tracer);
    let before = unix_ns();
    kitchen.connect(receiver.local_addr());
    for n in 0..10 {
        work(tracer, n);
        assert!(kitchen.send());
    }
    wait_until("20 spans", || receiver.ledger().total().delivered == 20);
    let after = unix_ns();
    drop(kitchen);
    let ledger = receiver.shutdown(Duration::from_secs(5));
    let [device] = &ledger.devices[..] else {
        panic!("{ledger:?}")
    };
    assert_eq!(
        (device.device_id.as_str(), device.missing()),
        ("kitchen", 0)
    );
    assert_eq!(device.to_string(), "20 started = 20 exported");
    let spans = take(&spans);
    assert_eq!(spans.len(), 20);
    for (i, pair) in spans.chunks(2).enumerate() {
        let [child, parent] = pair else {
            panic!("pairs")
        };
        assert_eq!(
            (child.name.as_str(), parent.name.as_str()),
            ("sample adc", "reading")
        );
        assert_eq!(child.parent_span_id, Some(parent.span_id));
        assert_eq!(
            parent.attributes,
            [
                ("n".to_owned(), AttributeValue::I64(i as i64)),
                // Nothing is known of its link.
                (ATTRIBUTE_ERROR.to_owned(), ERROR_UNKNOWN.into()),
            ]
        );
        assert_eq!(
            (parent.service.as_str(), parent.scope_name.as_str()),
            ("kitchen", "sensor-fw")
        );
        assert_eq!(child.events.len(), 1);
        for span in pair {
            assert!(span.start_unix_ns <= span.end_unix_ns);
            // Late by the link's delay at most; before the first frame the anchor may still move.
            assert!(span.start_unix_ns >= before - 1_000_000, "early");
            assert!(span.end_unix_ns <= after + 1_000_000, "late");
        }
    }
}

/// What the device has set: all but the last, which tells of its clock.
fn own_attributes(span: &TraceSpan) -> &[(String, AttributeValue)] {
    let (last, own) = span.attributes.split_last().expect("at least one");
    assert!(last.0.starts_with("spanlet.clock.error"), "{last:?}");
    own
}

/// Each span once, each one that its device has made.
fn assert_genuine(spans: &[TraceSpan], rounds: i64) {
    let mut ids = HashSet::new();
    let mut numbers = HashSet::new();
    for span in spans {
        assert!(ids.insert(span.span_id), "{} came out twice", span.name);
        assert!(span.start_unix_ns <= span.end_unix_ns);
        match span.name.as_str() {
            "reading" => {
                let [(key, AttributeValue::I64(n))] = own_attributes(span) else {
                    panic!("{span:?}")
                };
                assert!(
                    key == "n" && (0..rounds).contains(n) && numbers.insert(*n),
                    "{n}"
                );
                assert_eq!(span.parent_span_id, None);
            }
            "sample adc" => {
                let expected = [
                    ("channel".to_owned(), AttributeValue::I64(3)),
                    ("volts".to_owned(), AttributeValue::F64(1.25)),
                ];
                assert_eq!(own_attributes(span), expected);
                assert_eq!(span.events[0].name, "settled");
            }
            other => panic!("nobody made {other:?}"),
        }
    }
}

fn assert_balanced(ledger: &GatewayLedger) {
    assert!(ledger.is_balanced(), "{ledger:#?}");
    for device in &ledger.devices {
        assert!(device.link.is_balanced(), "{device}");
        assert_eq!(
            device.link.received,
            device.delivered + device.unresolved,
            "{device}"
        );
    }
}

#[test]
fn a_link_that_does_everything_wrong_invents_nothing_and_each_loss_is_counted() {
    let mut duplicates = 0;
    for seed in 1..=12 {
        let (spans, sink) = collected();
        let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(
            "127.0.0.1:0",
            receiver.local_addr(),
            seed,
            FAULTS,
            Faults::NONE,
        )
        .unwrap();
        let tracer = tracer(seed);
        let mut device = device("lossy", 1, Delivery::OneWay, tracer);
        device.connect(proxy.address());
        let rounds = 60;
        for n in 0..rounds {
            work(tracer, n);
            device.send();
            device.listen();
        }
        wait_until("the proxy has seen it all", || proxy.harm().0.frames >= 60);
        proxy.heal();
        // The link has recovered: heartbeats tell of the tail and teach the texts again.
        wait_until("all is known", || {
            device.send();
            device.listen();
            let ledger = receiver.ledger();
            let total = ledger.total();
            total.link.started == 120 && total.unresolved == 0 && total.link.pending == 0
        });
        drop(device);
        let ledger = receiver.shutdown(Duration::from_secs(5));
        assert_balanced(&ledger);
        assert_eq!(ledger.devices.len(), 1);
        let total = ledger.total();
        let spans = take(&spans);
        assert_genuine(&spans, rounds);
        assert_eq!(total.delivered, spans.len() as u64);
        let lost = total.link.link_lost + total.link.corrupt;
        assert_eq!(spans.len() as u64 + lost, 120, "{total}");
        assert_eq!(total.delivered_with_placeholders, 0);
        let (harm, _) = proxy.harm();
        assert!(harm.total() > 5, "the proxy did its work: {harm:?}");
        assert!(lost > 0, "seed {seed}: {harm:?} {total}");
        duplicates += total.link.duplicate;
        assert!(
            ledger.intake.damaged + ledger.intake.garbage > 0,
            "{}",
            ledger.intake
        );
    }
    assert!(duplicates > 0, "some arrived twice");
}

#[test]
fn acknowledged_delivery_loses_nothing_on_the_same_link() {
    for seed in 100..106 {
        let (spans, sink) = collected();
        let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(
            "127.0.0.1:0",
            receiver.local_addr(),
            seed,
            FAULTS,
            Faults::NONE,
        )
        .unwrap();
        let tracer = tracer(seed);
        let mut device = device("stubborn", 1, ACKNOWLEDGED, tracer);
        device.connect(proxy.address());
        for n in 0..60 {
            work(tracer, n);
            device.send();
            device.listen();
        }
        proxy.heal();
        let total = || receiver.ledger().total();
        wait_until(&format!("seed {seed}: all has arrived"), || {
            device.send();
            device.listen();
            let done = total().delivered == 120;
            assert!(done || device.counters().ring_full == 0, "{}", total());
            done
        });
        assert!(device.acks > 0);
        let ledger = receiver.shutdown(Duration::from_secs(5));
        assert_balanced(&ledger);
        let total = ledger.total();
        assert_eq!(
            (total.link.link_lost, total.link.ring_full),
            (0, 0),
            "{total}"
        );
        assert_genuine(&take(&spans), 60);
    }
}

/// The ring's bytes, and how many spans of [`work`] it holds at least.
const SMALL_RING: usize = 4096;
const SMALL_RING_SPANS: u64 = 30;

/// Works `rounds` times; what the ring refused is said by its counter, and by which ids are missing later.
fn work_in_small_ring(tracer: &'static DeviceTracer<SMALL_RING>, n: &mut i64, refused: &mut u64) {
    let before = tracer.counters().ring_full;
    work(tracer, *n);
    *n += 1;
    *refused += u64::from(tracer.counters().ring_full - before);
}

#[test]
fn acknowledged_delivery_outlasts_outages_over_tcp() {
    let noisy = Faults {
        corrupt: 10_000,
        duplicate: 50_000,
        ..Faults::NONE
    };
    for (seed, outage) in [(200, Mode::Cut), (201, Mode::Stall), (202, Mode::Cut)] {
        let (spans, sink) = collected();
        let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
        let at = receiver.local_addr();
        let proxy = Proxy::start("127.0.0.1:0", at, seed, noisy, noisy).unwrap();
        let tracer = tracer_with_ring::<SMALL_RING>(seed);
        // Of frames of 100 bytes a third is whole.
        let link = Link::stream().with_mtu(96);
        let mut device = device_on(link, "small", 1, ACKNOWLEDGED, tracer);
        device.connect(proxy.address());
        let (mut n, mut refused) = (0, 0);
        for _ in 0..10 {
            work_in_small_ring(tracer, &mut n, &mut refused);
            device.send_some(4);
            device.listen();
        }
        let started_before = u64::from(tracer.counters().started);
        let refused_before = refused;
        proxy.set_mode(outage);
        while u64::from(tracer.counters().started) < started_before + 10 * SMALL_RING_SPANS {
            work_in_small_ring(tracer, &mut n, &mut refused);
            // A stalled link takes what its buffers take, then nothing: the drain does not even try.
            if outage == Mode::Cut {
                device.send_some(2);
            }
            device.listen();
        }
        assert!(
            refused > refused_before,
            "the outage is longer than the ring"
        );
        proxy.set_mode(Mode::Pass);
        for _ in 0..5 {
            work_in_small_ring(tracer, &mut n, &mut refused);
            device.send_some(4);
            device.listen();
        }
        wait_until("the faults have happened", || {
            device.send_some(4);
            device.listen();
            let (up, down) = proxy.harm();
            up.corrupted_bytes > 0 && up.duplicated > 0 && down.corrupted_bytes > 0
        });
        proxy.heal();
        let taken = u64::from(tracer.counters().started) - refused;
        wait_until(&format!("seed {seed}: all has arrived"), || {
            device.send_some(20);
            device.listen();
            receiver.ledger().total().delivered == taken
        });
        device.send_some(20);
        wait_until("the last counters", || {
            device.send_some(1);
            device.listen();
            receiver.ledger().total().link.ring_full == refused
        });
        let ledger = receiver.shutdown(Duration::from_secs(5));
        assert_balanced(&ledger);
        let link = ledger.total().link;
        assert_eq!(
            (link.link_lost, link.acknowledged_elsewhere),
            (0, 0),
            "{link:?}"
        );
        assert_eq!(
            (link.ring_full, link.received),
            (refused, taken),
            "{link:?}"
        );
        // As many as the ring took, each once: those from before the outage are among them.
        assert_genuine(&take(&spans), n);
    }
}

#[test]
fn a_device_that_reconnects_goes_on_where_it_was() {
    let (spans, sink) = collected();
    let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
    let tracer = tracer(2);
    let mut device = device("flapping", 1, ACKNOWLEDGED, tracer);
    for round in 0..8 {
        device.connect(receiver.local_addr());
        for n in 0..5 {
            work(tracer, round * 5 + n);
            device.send();
        }
        // In the middle of it, before any acknowledgement is read.
        device.disconnect();
        work(tracer, 100 + round);
        assert!(!device.send());
    }
    device.connect(receiver.local_addr());
    wait_until("all has arrived", || {
        device.send();
        device.listen();
        receiver.ledger().total().delivered == 96
    });
    let ledger = receiver.shutdown(Duration::from_secs(5));
    assert_balanced(&ledger);
    let total = ledger.total();
    assert_eq!((total.link.link_lost, total.epochs), (0, 1), "{total}");
    assert_genuine(&take(&spans), 200);
}

#[test]
fn a_gateway_that_comes_in_the_middle_of_an_epoch_frees_the_device() {
    let (first_spans, first_sink) = collected();
    let (second_spans, second_sink) = collected();
    let tracer = tracer(3);
    let mut device = device("patient", 1, ACKNOWLEDGED, tracer);
    let first = Gateway::builder()
        .sink(first_sink)
        .bind("127.0.0.1:0")
        .unwrap();
    device.connect(first.local_addr());
    for n in 0..20 {
        work(tracer, n);
        device.send();
        device.listen();
    }
    wait_until("the first has them", || {
        first.ledger().total().delivered == 40
    });
    first.shutdown(Duration::from_secs(5));
    device.disconnect();
    for n in 20..30 {
        work(tracer, n);
    }
    let second = Gateway::builder()
        .sink(second_sink)
        .bind("127.0.0.1:0")
        .unwrap();
    device.connect(second.local_addr());
    wait_until("the device is freed", || {
        device.send();
        device.listen();
        device.acknowledged == 60
    });
    // Many rings' worth: the device gets rid of them only if it is acknowledged.
    for n in 30..400 {
        work(tracer, n);
        device.send();
        device.listen();
        std::thread::sleep(Duration::from_micros(500));
    }
    let mut spans = take(&first_spans);
    let seen = |spans: &[TraceSpan]| spans.iter().map(|s| s.span_id).collect::<HashSet<_>>();
    wait_until("all has arrived", || {
        device.send();
        device.listen();
        spans.extend(take(&second_spans));
        seen(&spans).len() == 800
    });
    assert_eq!(device.counters().ring_full, 0);
    let ledger = second.shutdown(Duration::from_secs(5));
    assert_balanced(&ledger);
}

#[test]
fn two_devices_over_otlp_arrive_as_the_sink_saw_them() {
    use spanlet_std::export::OtlpHttpExporter;
    use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
    let arrived = Spans::default();
    let to = arrived.clone();
    let collector = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
        assert!(!request.resource_spans.is_empty());
        to.lock().unwrap().extend(request.trace_spans());
        Answer::Accept
    })
    .unwrap();
    let exporter = OtlpHttpExporter::builder()
        .endpoint(&collector.endpoint())
        .unwrap()
        .build()
        .unwrap();
    let (spans, sink) = collected();
    let receiver = Gateway::builder()
        .sink(sink)
        .exporter(exporter)
        .export_device_id(true)
        .batch(BatchConfig {
            max_export_batch_size: 7,
            ..BatchConfig::default()
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let tracers = [tracer(10), tracer(11)];
    let mut devices = [
        device("hall", 1, Delivery::OneWay, tracers[0]),
        device("yard", 9, ACKNOWLEDGED, tracers[1]),
    ];
    for device in &mut devices {
        device.connect(receiver.local_addr());
    }
    for n in 0..20 {
        for (device, tracer) in devices.iter_mut().zip(tracers) {
            if n % 4 == 3 {
                work_of_a_library(tracer);
            }
            work(tracer, n);
            device.send();
            device.listen();
        }
    }
    wait_until("all", || receiver.ledger().total().delivered == 90);
    assert!(receiver.flush(Duration::from_secs(5)));
    let ledger = receiver.shutdown(Duration::from_secs(5));
    assert_balanced(&ledger);
    for device in &ledger.devices {
        assert_eq!(
            (device.exported(), device.destinations[0].spans()),
            (45, 45),
            "{device}"
        );
    }
    let sorted = |spans: &Spans| {
        let mut spans = take(spans);
        spans.sort_by_key(|span| {
            (
                span.service.clone(),
                span.start_unix_ns,
                span.span_id.to_bytes(),
            )
        });
        spans
    };
    let (sent, arrived) = (sorted(&spans), sorted(&arrived));
    assert_eq!(sent.len(), 90);
    assert!(
        sent.iter()
            .any(|span| span.scope_name == "modbus" && span.scope_version == "0.3")
    );
    assert!(sent.iter().any(|span| span.scope_name == "sensor-fw"));
    for (sent, arrived) in sent.iter().zip(&arrived) {
        assert_eq!(sent, arrived);
        let id = spanlet_std::trace::attribute(&arrived.resource, &["device.id"]);
        assert_eq!(id.unwrap().1.to_string(), arrived.service);
    }
    assert_eq!(sent.len(), arrived.len());
}

struct Refuses;
impl SpanExporter for Refuses {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        let indeterminate = batch.spans / 2;
        ExportOutcome {
            indeterminate,
            failed: batch.spans - indeterminate,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        ShutdownReport::default()
    }
}
struct Hangs(Arc<Mutex<bool>>);
impl SpanExporter for Hangs {
    fn export(&self, batch: Batch<'_>, _: Duration) -> ExportOutcome {
        while !*self.0.lock().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        ExportOutcome {
            failed: batch.spans,
            ..ExportOutcome::default()
        }
    }
    fn shutdown(&self, _: Duration) -> ShutdownReport {
        *self.0.lock().unwrap() = true;
        ShutdownReport::default()
    }
}

#[test]
fn what_exporters_lose_is_in_the_ledger_of_each_destination() {
    let receiver = Gateway::builder()
        .exporter(Refuses)
        .exporter(Hangs(Arc::default()))
        .batch(BatchConfig {
            max_queue_size: 20,
            max_export_batch_size: 10,
            schedule_delay: Duration::from_millis(5),
            ..BatchConfig::default()
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let tracer = tracer(4);
    let mut device = device("unlucky", 1, Delivery::OneWay, tracer);
    device.connect(receiver.local_addr());
    for n in 0..60 {
        work(tracer, n);
        device.send();
    }
    wait_until("all", || receiver.ledger().total().delivered == 120);
    drop(device);
    let start = Instant::now();
    let ledger = receiver.shutdown(Duration::from_millis(300));
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "a hanging exporter is not waited for"
    );
    assert_balanced(&ledger);
    let [refuses, hangs] = ledger.devices[0].destinations[..] else {
        panic!("{ledger:?}")
    };
    assert_eq!(
        refuses.indeterminate + refuses.failed + refuses.queue_full,
        120,
        "{refuses:?}"
    );
    assert!(refuses.indeterminate > 0);
    assert_eq!(hangs.spans(), 120, "{hangs:?}");
    assert!(hangs.queue_full > 0 && hangs.failed > 0, "{hangs:?}");
}

#[test]
fn who_says_no_hello_is_asked_and_who_never_answers_is_counted() {
    let (spans, sink) = collected();
    let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
    let (shy, mute) = (tracer(5), tracer(6));
    let mut asked = device("shy", 1, Delivery::OneWay, shy);
    asked.connect_silently(receiver.local_addr());
    work(shy, 1);
    asked.send();
    wait_until("the answer to the question", || {
        asked.listen();
        receiver.ledger().total().delivered == 2
    });
    assert_eq!(asked.hellos_wanted, 1);
    assert_eq!(take(&spans).len(), 2);
    let mut silent = device("mute", 1, Delivery::OneWay, mute);
    silent.connect_silently(receiver.local_addr());
    work(mute, 1);
    silent.send();
    drop(silent);
    wait_until("it is counted", || {
        receiver.ledger().intake.unidentified == 1
    });
    assert_eq!(receiver.ledger().devices.len(), 1);
}

#[test]
fn a_reset_without_a_new_epoch_is_noticed() {
    let (spans, sink) = collected();
    let receiver = Gateway::builder().sink(sink).bind("127.0.0.1:0").unwrap();
    let before = tracer(20);
    let mut device_before = device("amnesiac", 1, Delivery::OneWay, before);
    device_before.connect(receiver.local_addr());
    work(before, 1);
    device_before.send();
    wait_until("before", || receiver.ledger().total().delivered == 2);
    // Numbers its records and its texts anew, in another order.
    let after = tracer(21);
    let mut device_after = device("amnesiac", 1, Delivery::OneWay, after);
    device_after.connect(receiver.local_addr());
    drop::<DeviceSpan>(after.span("first of all").start());
    work(after, 2);
    device_after.send();
    wait_until("after", || receiver.ledger().total().delivered == 5);
    let ledger = receiver.shutdown(Duration::from_secs(5));
    assert_balanced(&ledger);
    assert_eq!((ledger.devices.len(), ledger.total().epochs), (1, 2));
    let names: Vec<String> = take(&spans).into_iter().map(|span| span.name).collect();
    let expected = [
        "sample adc",
        "reading",
        "first of all",
        "sample adc",
        "reading",
    ];
    assert_eq!(names, expected);
}

#[test]
fn garbage_is_counted_and_ends_nothing() {
    let (spans, sink) = collected();
    let receiver = Gateway::builder()
        .sink(sink)
        .max_connections(2)
        .bind("127.0.0.1:0")
        .unwrap();
    let mut noise = TcpStream::connect(receiver.local_addr()).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let bytes: Vec<u8> = (0..random.usize(1..900)).map(|_| random.u8(..)).collect();
        noise.write_all(&bytes).unwrap();
    }
    // Longer than any frame.
    noise.write_all(&vec![1; 200_000]).unwrap();
    noise.write_all(&[0]).unwrap();
    let tracer = tracer(7);
    let mut device = device("calm", 1, Delivery::OneWay, tracer);
    device.connect(receiver.local_addr());
    work(tracer, 0);
    device.send();
    wait_until("the device is heard", || {
        receiver.ledger().total().delivered == 2
    });
    wait_until("two connections", || receiver.connections() == 2);
    let refused = TcpStream::connect(receiver.local_addr()).unwrap();
    wait_until("a third is refused", || {
        receiver.ledger().intake.connections_refused == 1
    });
    drop((refused, noise));
    let ledger = receiver.shutdown(Duration::from_secs(5));
    assert_balanced(&ledger);
    assert!(ledger.intake.garbage > 100, "{}", ledger.intake);
    assert_eq!(ledger.devices.len(), 1);
    assert_genuine(&take(&spans), 1);
}

#[test]
fn pings_tell_the_time_within_the_bound_that_is_stated() {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let to = errors.clone();
    let receiver = Gateway::builder()
        .sink(move |span| {
            to.lock()
                .unwrap()
                .push((span.clock_error, span.to_trace_span()))
        })
        .ping_every(Duration::from_millis(20))
        .bind("127.0.0.1:0")
        .unwrap();
    let tracer: &'static DeviceTracer = tracer(8);
    let mut device = device("punctual", 1, ACKNOWLEDGED, tracer);
    device.connect(receiver.local_addr());
    let mut truth = Vec::new();
    wait_until("some answers", || {
        truth.push(unix_ns());
        work(tracer, truth.len() as i64);
        device.send();
        device.listen();
        truth.len() >= 60
    });
    let wanted = 2 * truth.len() as u64;
    wait_until("all", || {
        device.send();
        device.listen();
        receiver.ledger().total().delivered == wanted
    });
    let spans = errors.lock().unwrap();
    let mut bounded = 0;
    for (error, span) in spans.iter().filter(|(_, span)| span.name == "reading") {
        let Some(error) = error.bound_ns() else {
            continue;
        };
        bounded += 1;
        let AttributeValue::I64(n) = span.attributes[0].1 else {
            panic!()
        };
        let off = span.start_unix_ns.abs_diff(truth[n as usize - 1]);
        // The truth is read a moment before the span starts; a busy machine makes it a long one.
        assert!(off <= error + 20_000_000, "{off} ns off, {error} ns stated");
    }
    assert_eq!(2 * bounded, spans.len(), "spans wait for the first answer");
}

#[test]
fn only_who_may_listens_to_the_world() {
    let refused = Gateway::builder().bind("0.0.0.0:0").unwrap_err();
    assert!(matches!(refused, BindError::NotLoopback(_)), "{refused}");
    let receiver = Gateway::builder()
        .allow_remote(true)
        .bind("0.0.0.0:0")
        .unwrap();
    let ledger = receiver.shutdown(Duration::from_secs(1));
    assert_eq!(ledger.devices, []);
}
