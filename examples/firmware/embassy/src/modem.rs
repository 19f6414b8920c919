//! Requests to the cloud, over a modem on the third UART that passes bytes on as they are.
//!
//! Input: what to post, and in which span. Output: the answer's status. Bound: one request at a time, an answer
//! without a body. The interrupt that reads the answer records a span of its own, a child of the request's.

use crate::{Span, TRACER, board::MODEM_UART};
use core::cell::RefCell;
use core::fmt::Write;
use critical_section::Mutex;
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use spanlet::SpanContext;
use spanlet::context::traceparent;

static STATUS: Signal<CriticalSectionRawMutex, u16> = Signal::new();
static ANSWER: Mutex<RefCell<Answer>> = Mutex::new(RefCell::new(Answer::none()));

/// An answer as far as it has come.
struct Answer {
    /// Whose it is.
    request: Option<SpanContext>,
    span: Option<Span>,
    len: u32,
    status: u16,
    /// How much of `\r\n\r\n` has come.
    end: usize,
}

impl Answer {
    const fn none() -> Self {
        Answer {
            request: None,
            span: None,
            len: 0,
            status: 0,
            end: 0,
        }
    }
    /// Takes a byte; the status when the answer is complete.
    fn push(&mut self, byte: u8) -> Option<u16> {
        let request = self.request?;
        self.span
            .get_or_insert_with(|| TRACER.span("answer").parent(&request).start());
        // "HTTP/1.1 204 …"
        if let (9..12, b'0'..=b'9') = (self.len, byte) {
            self.status = self.status * 10 + u16::from(byte - b'0');
        }
        self.len += 1;
        const END: &[u8] = b"\r\n\r\n";
        self.end = if byte == END[self.end] {
            self.end + 1
        } else {
            usize::from(byte == END[0])
        };
        if self.end < END.len() {
            return None;
        }
        let Answer {
            span, len, status, ..
        } = core::mem::replace(self, Answer::none());
        if let Some(mut span) = span {
            span.set_attribute("bytes", i64::from(len));
        }
        Some(status)
    }
}

/// Posts a temperature and waits for the status of the answer.
pub async fn post(context: &SpanContext, path: &str, celsius_tenths: u32) -> u16 {
    STATUS.reset();
    critical_section::with(|cs| {
        let request = Some(*context);
        *ANSWER.borrow_ref_mut(cs) = Answer {
            request,
            ..Answer::none()
        };
    });
    let traceparent = traceparent::encode(context);
    let traceparent = core::str::from_utf8(&traceparent).unwrap_or_default();
    // This writer never fails.
    let mut modem = MODEM_UART;
    let _ = write!(
        modem,
        "POST {path} HTTP/1.1\r\nHost: cloud\r\ntraceparent: {traceparent}\r\nContent-Length: 4\r\n\r\n{celsius_tenths:04}",
    );
    STATUS.wait().await
}

/// The modem's UART has received.
pub fn received(byte: u8) {
    if let Some(status) = critical_section::with(|cs| ANSWER.borrow_ref_mut(cs).push(byte)) {
        STATUS.signal(status);
    }
}
