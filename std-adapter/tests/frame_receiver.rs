//! Devices over real TCP: each span comes out once or is in the ledger, whatever happens to the link.

mod devices;

use devices::{device, tracer, unix_ns, wait_until, work};
use spanlet::drain::Delivery;
use spanlet_std::receiver::Gateway;
use spanlet_std::trace::{AttributeValue, TraceSpan};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
            [("n".to_owned(), AttributeValue::I64(i as i64))]
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
