//! No hot-path call allocates.
//!
//! Input: every public call that a traced program makes. Output: the names of those that reached the allocator,
//! with how often. Bound: it counts this thread only, and only while a call runs, so the harness may allocate.
//!
//! To add a call, add a line to the test of its stage: `hot.call("name", || the_call(black_box(input)))`.
//! Prepare inputs before, with `let`; the call's result is dropped inside the measurement.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::hint::black_box;
use std::alloc::System;

use spanlet::context::traceparent;
use spanlet::{SpanContext, SpanId, TraceFlags, TraceId};

thread_local! {
    /// `Some` while a hot call runs on this thread: how often it reached the allocator.
    static REACHED: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Counting;

fn reached() {
    // The thread-local is gone while its thread ends: no hot call runs then.
    let _ = REACHED.try_with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: each call goes to `System` with the caller's own arguments; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        reached();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The calls of one stage. Dropping it fails the test with every call that reached the allocator.
#[derive(Default)]
struct HotPath {
    calls: usize,
    guilty: Vec<(&'static str, u32)>,
}

impl HotPath {
    /// Runs the call twice, since what is lazily set up counts too and must not hide behind the first run.
    fn call<R>(&mut self, name: &'static str, mut operation: impl FnMut() -> R) {
        for _ in 0..2 {
            REACHED.set(Some(0));
            drop(black_box(operation()));
            let reached = REACHED.replace(None).unwrap();
            if reached > 0 {
                self.guilty.push((name, reached));
            }
        }
        self.calls += 1;
    }
}

impl Drop for HotPath {
    fn drop(&mut self) {
        // A call that panicked has its own message.
        if !std::thread::panicking() {
            assert!(self.calls > 0, "no call was made");
            assert!(
                self.guilty.is_empty(),
                "reached the allocator: {:?}",
                self.guilty
            );
        }
    }
}

#[test]
fn an_allocation_is_seen() {
    let mut hot = HotPath::default();
    hot.call("a vector", || vec![1u8; black_box(3)]);
    hot.call("nothing", || black_box(3));
    // Allocated and freed, in both runs.
    assert_eq!(
        core::mem::take(&mut hot.guilty),
        [("a vector", 2), ("a vector", 2)]
    );
}

#[test]
fn context() {
    let mut hot = HotPath::default();
    let (trace, span) = (
        TraceId::from_bytes([1; 16]).unwrap(),
        SpanId::from_bytes([2; 8]).unwrap(),
    );

    let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let context = SpanContext::new(trace, span, TraceFlags::SAMPLED);

    hot.call("traceparent::parse", || {
        traceparent::parse(black_box(header))
    });
    hot.call("traceparent::parse, refused", || {
        traceparent::parse(black_box(b"00-4bf9"))
    });
    hot.call("traceparent::encode", || {
        traceparent::encode(black_box(&context))
    });
    hot.call("TraceId::from_bytes", || {
        TraceId::from_bytes(black_box([1; 16]))
    });
    hot.call("SpanId::from_bytes", || {
        SpanId::from_bytes(black_box([2; 8]))
    });
    hot.call("SpanContext::new", || {
        SpanContext::new(black_box(trace), black_box(span), TraceFlags::SAMPLED).remote()
    });
}
