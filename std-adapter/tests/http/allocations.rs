//! What the layers allocate for a request: nothing where it is not sampled.

use crate::memory::installed;
use crate::server::trace;
use core::cell::Cell;
use http_body_util::Empty;
use spanlet_std::propagation::{self, HttpFields, MessageFields};
use spanlet_std::tower::{HttpRoute, TraceClientLayer, TraceServerLayer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::task::{Poll, Waker};
use tower::{Layer, Service};

thread_local! {
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // The thread-local is gone while its thread ends.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: each call goes to `System` with the caller's own arguments; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates on this thread, once it has been done before.
fn allocations(mut work: impl FnMut()) -> u32 {
    work();
    work();
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

type Answer = Ready<Result<http::Response<Empty<&'static [u8]>>, Infallible>>;

/// A service that answers at once and allocates nothing.
#[derive(Clone)]
struct Nothing;

impl Service<http::Request<()>> for Nothing {
    type Response = http::Response<Empty<&'static [u8]>>;
    type Error = Infallible;
    type Future = Answer;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<()>) -> Answer {
        drop(request);
        ready(Ok(http::Response::new(Empty::new())))
    }
}

/// Serves copies of a request, made before.
fn served<S: Service<http::Request<()>>>(
    mut service: S,
    request: &http::Request<()>,
) -> impl FnMut() {
    let mut copies: Vec<_> = (0..3).map(|_| request.clone()).collect();
    move || {
        let answer = pin!(service.call(copies.pop().unwrap()));
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert!(answer.poll(&mut cx).is_ready());
    }
}

fn request(flags: &str) -> http::Request<()> {
    let (_, parent) = trace(flags);
    http::Request::get("http://shop.test:8080/orders/17?q=1")
        .header("traceparent", parent)
        .header("user-agent", "test")
        .extension(HttpRoute::new("/orders/{id}"))
        .body(())
        .unwrap()
}

#[test]
fn a_request_that_is_not_sampled_allocates_nothing() {
    installed();
    let server = TraceServerLayer::new()
        .skip_paths(["/healthz"])
        .layer(Nothing);
    assert_eq!(allocations(served(server, &request("00"))), 0);

    // A client's header field has to be owned by the request.
    let client = TraceClientLayer::new().layer(Nothing);
    assert_eq!(allocations(served(client, &request("00"))), 1);
}

/// The span's entries are in pooled pages, its name is put together on the stack.
#[test]
fn a_request_that_is_sampled_allocates_nothing_either() {
    installed();
    let server = TraceServerLayer::new().layer(Nothing);
    assert_eq!(allocations(served(server, &request("01"))), 0);
}

#[test]
fn trace_state_is_allocated_once_a_request() {
    let mut request = request("01");
    let state = http::HeaderValue::from_static("rojo=1,congo=2");
    request.headers_mut().insert("tracestate", state);
    installed();
    let server = TraceServerLayer::new().layer(Nothing);
    assert_eq!(allocations(served(server, &request)), 1);

    // What is done inside shares it.
    let context = propagation::extract(&HttpFields(request.headers()));
    let count = allocations(|| {
        context.run(|| {
            let mut outer: spanlet_std::Span = spanlet_std::span("outer").start();
            outer.run(|_| drop::<spanlet_std::Span>(spanlet_std::span("inner").start()));
        });
    });
    assert_eq!(count, 0);
    let mut fields = MessageFields::new();
    context.run(|| {
        let call: spanlet_std::Span = spanlet_std::span("call").start();
        propagation::inject(&call, &mut fields).unwrap();
    });
    assert_eq!(fields.get("tracestate"), Some("rojo=1,congo=2"));
}
