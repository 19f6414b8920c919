//! Traced buses and streams, over mocks that check every byte: the spans of each operation by the convention of
//! `spanlet::boundary`, and nothing else changed.
#![allow(clippy::unwrap_used, reason = "tests")]

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use embedded_hal::i2c::NoAcknowledgeSource;
use embedded_hal_mock::eh1::i2c::{Mock as I2cMock, Transaction as I2cStep};
use embedded_hal_mock::eh1::spi::{Mock as SpiMock, Transaction as SpiStep};
use spanlet::boundary::Traced;
use spanlet::testing::{ManualClock, TestTracer};
use spanlet::{
    AlwaysOff, AlwaysOn, DeviceIds, Global, InlineBuf, RecordSource, Span, SpanKind, Status,
    Tracer, Value, set_global_tracer,
};

/// The spans of a tracer: name, attributes as text, status.
fn spans<S: spanlet::Sampler>(tracer: &TestTracer<S>) -> Vec<(String, String, Status)> {
    let found = tracer.with_spans(|spans| {
        spans
            .map(|span| {
                let attributes: Vec<_> = span
                    .attributes()
                    .map(|kv| match kv.value {
                        Value::I64(n) => format!("{}={n}", kv.key),
                        Value::Str(text) => format!("{}={text}", kv.key),
                        Value::Static(text) => format!("{}={text}", kv.key),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                assert_eq!(span.kind(), SpanKind::Client, "{}", span.name());
                assert_eq!(span.dropped_attributes(), 0);
                (span.name().into(), attributes.join(" "), span.status())
            })
            .collect()
    });
    tracer.clear();
    found
}
#[track_caller]
fn one<S: spanlet::Sampler>(tracer: &TestTracer<S>, name: &str, attributes: &str, status: Status) {
    assert_eq!(spans(tracer), [(name.into(), attributes.into(), status)]);
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
fn ready<F: Future>(future: F) -> F::Output {
    match poll_once(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the mock waits for nothing"),
    }
}

#[test]
fn i2c_operations_are_client_spans() {
    use embedded_hal::i2c::I2c;
    use embedded_hal::i2c::Operation::{Read, Write};
    let tracer: TestTracer = TestTracer::new();
    let mut i2c = Traced::new(
        I2cMock::new(&[
            I2cStep::write(0x76, vec![1, 2, 3]),
            I2cStep::read(0x76, vec![4, 5]),
            I2cStep::write_read(0x76, vec![0xd0], vec![0x60, 0, 0, 0]),
            I2cStep::transaction_start(0x10),
            I2cStep::write(0x10, vec![9]),
            I2cStep::read(0x10, vec![8, 7]),
            I2cStep::transaction_end(0x10),
        ]),
        &tracer,
    )
    .named("bme280");
    let (mut two, mut four) = ([0; 2], [0; 4]);
    i2c.write(0x76u8, &[1, 2, 3]).unwrap();
    one(
        &tracer,
        "i2c write",
        "hw.name=bme280 i2c.address=118 i2c.bytes_written=3",
        Status::Unset,
    );
    i2c.read(0x76u8, &mut two).unwrap();
    assert_eq!(two, [4, 5]);
    one(
        &tracer,
        "i2c read",
        "hw.name=bme280 i2c.address=118 i2c.bytes_read=2",
        Status::Unset,
    );
    i2c.write_read(0x76u8, &[0xd0], &mut four).unwrap();
    assert_eq!(four, [0x60, 0, 0, 0]);
    one(
        &tracer,
        "i2c write_read",
        "hw.name=bme280 i2c.address=118 i2c.bytes_written=1 i2c.bytes_read=4",
        Status::Unset,
    );
    i2c.transaction(0x10u8, &mut [Write(&[9]), Read(&mut two)])
        .unwrap();
    assert_eq!(two, [8, 7]);
    one(
        &tracer,
        "i2c transaction",
        "hw.name=bme280 i2c.address=16 i2c.bytes_written=1 i2c.bytes_read=2 i2c.operations=2",
        Status::Unset,
    );
    i2c.into_inner().done();
}

/// Each kind of error under the name that the convention gives it, and the error itself handed on.
#[test]
fn errors_are_recorded_by_kind() {
    use embedded_hal::i2c::{ErrorKind as I2c, I2c as _};
    use embedded_hal::spi::{ErrorKind as Spi, SpiDevice};
    use embedded_io::ErrorKind as Io;
    let tracer: TestTracer = TestTracer::new();
    for (kind, name) in [
        (I2c::Bus, "bus"),
        (I2c::ArbitrationLoss, "arbitration_loss"),
        (
            I2c::NoAcknowledge(NoAcknowledgeSource::Address),
            "no_acknowledge_address",
        ),
        (
            I2c::NoAcknowledge(NoAcknowledgeSource::Data),
            "no_acknowledge_data",
        ),
        (
            I2c::NoAcknowledge(NoAcknowledgeSource::Unknown),
            "no_acknowledge",
        ),
        (I2c::Overrun, "overrun"),
        (I2c::Other, "_OTHER"),
    ] {
        let mut i2c = Traced::new(
            I2cMock::new(&[I2cStep::write(1, vec![2]).with_error(kind)]),
            &tracer,
        );
        assert_eq!(i2c.write(1u8, &[2]), Err(kind));
        let attributes = format!("i2c.address=1 i2c.bytes_written=1 error.type={name}");
        one(&tracer, "i2c write", &attributes, Status::Error);
        i2c.inner_mut().done();
    }
    struct Failing<E>(E);
    impl embedded_hal::spi::ErrorType for Failing<Spi> {
        type Error = Spi;
    }
    impl SpiDevice for Failing<Spi> {
        fn transaction(
            &mut self,
            _: &mut [embedded_hal::spi::Operation<'_, u8>],
        ) -> Result<(), Spi> {
            Err(self.0)
        }
    }
    for (kind, name) in [
        (Spi::Overrun, "overrun"),
        (Spi::ModeFault, "mode_fault"),
        (Spi::FrameFormat, "frame_format"),
        (Spi::ChipSelectFault, "chip_select_fault"),
        (Spi::Other, "_OTHER"),
    ] {
        assert_eq!(Traced::new(Failing(kind), &tracer).write(&[1]), Err(kind));
        let attributes = format!("spi.bytes_written=1 error.type={name}");
        one(&tracer, "spi write", &attributes, Status::Error);
    }
    impl embedded_io::ErrorType for Failing<Io> {
        type Error = Io;
    }
    impl embedded_io::Read for Failing<Io> {
        fn read(&mut self, _: &mut [u8]) -> Result<usize, Io> {
            Err(self.0)
        }
    }
    for kind in [
        Io::NotFound,
        Io::PermissionDenied,
        Io::ConnectionRefused,
        Io::ConnectionReset,
        Io::ConnectionAborted,
        Io::NotConnected,
        Io::AddrInUse,
        Io::AddrNotAvailable,
        Io::BrokenPipe,
        Io::AlreadyExists,
        Io::InvalidInput,
        Io::InvalidData,
        Io::TimedOut,
        Io::Interrupted,
        Io::Unsupported,
        Io::OutOfMemory,
        Io::WriteZero,
    ] {
        let mut stream = Traced::new(Failing(kind), &tracer);
        assert_eq!(embedded_io::Read::read(&mut stream, &mut [0]), Err(kind));
        // Snake case of the variant.
        let mut name = String::new();
        for c in format!("{kind:?}").chars() {
            if c.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(c.to_lowercase());
        }
        one(
            &tracer,
            "io read",
            &format!("error.type={name}"),
            Status::Error,
        );
    }
    let mut other = Traced::new(Failing(Io::Other), &tracer);
    assert!(embedded_io::Read::read(&mut other, &mut [0]).is_err());
    one(&tracer, "io read", "error.type=_OTHER", Status::Error);
}

#[test]
fn spi_devices_and_buses_are_client_spans() {
    use embedded_hal::spi::Operation::{DelayNs, Read, Transfer, TransferInPlace, Write};
    use embedded_hal::spi::{SpiBus, SpiDevice};
    let tracer: TestTracer = TestTracer::new();
    let device = |steps: &[SpiStep<u16>]| {
        let mut all = vec![SpiStep::transaction_start()];
        all.extend_from_slice(steps);
        all.push(SpiStep::transaction_end());
        Traced::new(SpiMock::new(&all), &tracer)
    };
    let mut words = [0u16; 2];

    let mut spi = device(&[SpiStep::write_vec(vec![1, 2])]);
    SpiDevice::write(&mut spi, &[1, 2]).unwrap();
    spi.inner_mut().done();
    one(&tracer, "spi write", "spi.bytes_written=4", Status::Unset);

    let mut spi = device(&[SpiStep::read_vec(vec![3, 4])]);
    SpiDevice::read(&mut spi, &mut words).unwrap();
    spi.inner_mut().done();
    assert_eq!(words, [3, 4]);
    one(&tracer, "spi read", "spi.bytes_read=4", Status::Unset);

    let mut spi = device(&[SpiStep::transfer(vec![5, 6], vec![7, 8])]);
    SpiDevice::transfer(&mut spi, &mut words, &[5, 6]).unwrap();
    spi.inner_mut().done();
    assert_eq!(words, [7, 8]);
    one(
        &tracer,
        "spi transfer",
        "spi.bytes_written=4 spi.bytes_read=4",
        Status::Unset,
    );

    let mut spi = device(&[SpiStep::transfer_in_place(vec![7, 8], vec![1, 2])]);
    SpiDevice::transfer_in_place(&mut spi, &mut words).unwrap();
    spi.inner_mut().done();
    assert_eq!(words, [1, 2]);
    one(
        &tracer,
        "spi transfer_in_place",
        "spi.bytes_written=4 spi.bytes_read=4",
        Status::Unset,
    );

    let mut spi = device(&[
        SpiStep::write_vec(vec![1]),
        SpiStep::delay(50),
        SpiStep::read_vec(vec![9, 9]),
        SpiStep::transfer(vec![2], vec![3]),
        SpiStep::transfer_in_place(vec![4], vec![5]),
    ])
    .named("flash");
    let (mut one_word, mut in_place) = ([0u16], [4u16]);
    spi.transaction(&mut [
        Write(&[1]),
        DelayNs(50),
        Read(&mut words),
        Transfer(&mut one_word, &[2]),
        TransferInPlace(&mut in_place),
    ])
    .unwrap();
    spi.inner_mut().done();
    one(
        &tracer,
        "spi transaction",
        "hw.name=flash spi.bytes_written=6 spi.bytes_read=8 spi.operations=5",
        Status::Unset,
    );

    let mut bus = Traced::new(
        SpiMock::new(&[SpiStep::write_vec(vec![1u8, 2, 3]), SpiStep::flush()]),
        &tracer,
    );
    SpiBus::write(&mut bus, &[1, 2, 3]).unwrap();
    one(&tracer, "spi write", "spi.bytes_written=3", Status::Unset);
    SpiBus::flush(&mut bus).unwrap();
    one(&tracer, "spi flush", "", Status::Unset);
    bus.into_inner().done();
}

#[test]
fn async_buses_are_traced_alike() {
    use embedded_hal_async::i2c::I2c;
    use embedded_hal_async::spi::{SpiBus, SpiDevice};
    let tracer: TestTracer = TestTracer::new();
    let mut i2c = Traced::new(
        I2cMock::new(&[
            I2cStep::write_read(0x76, vec![1], vec![2, 3]),
            I2cStep::write(0x76, vec![4]).with_error(embedded_hal::i2c::ErrorKind::ArbitrationLoss),
        ]),
        &tracer,
    );
    let mut two = [0; 2];
    ready(i2c.write_read(0x76u8, &[1], &mut two)).unwrap();
    assert_eq!(two, [2, 3]);
    let attributes = "i2c.address=118 i2c.bytes_written=1 i2c.bytes_read=2";
    one(&tracer, "i2c write_read", attributes, Status::Unset);
    assert!(ready(i2c.write(0x76u8, &[4])).is_err());
    let attributes = "i2c.address=118 i2c.bytes_written=1 error.type=arbitration_loss";
    one(&tracer, "i2c write", attributes, Status::Error);
    i2c.into_inner().done();

    let mut spi = Traced::new(
        SpiMock::new(&[
            SpiStep::transaction_start(),
            SpiStep::transfer_in_place(vec![1u8, 2], vec![3, 4]),
            SpiStep::transaction_end(),
            SpiStep::flush(),
        ]),
        &tracer,
    );
    let mut words = [1, 2];
    ready(SpiDevice::transfer_in_place(&mut spi, &mut words)).unwrap();
    assert_eq!(words, [3, 4]);
    one(
        &tracer,
        "spi transfer_in_place",
        "spi.bytes_written=2 spi.bytes_read=2",
        Status::Unset,
    );
    ready(SpiBus::flush(&mut spi)).unwrap();
    one(&tracer, "spi flush", "", Status::Unset);
    spi.into_inner().done();
}

#[test]
fn streams_are_client_spans() {
    use embedded_io::{Read, ReadExactError, Write};
    let tracer: TestTracer = TestTracer::new();
    let mut source = Traced::new(&b"hello"[..], &tracer).named("modem");
    let mut three = [0; 3];
    source.read_exact(&mut three).unwrap();
    assert_eq!(&three, b"hel");
    one(
        &tracer,
        "io read_exact",
        "hw.name=modem io.bytes_read=3",
        Status::Unset,
    );
    assert_eq!(source.read(&mut three).unwrap(), 2);
    one(
        &tracer,
        "io read",
        "hw.name=modem io.bytes_read=2",
        Status::Unset,
    );
    assert_eq!(source.read(&mut three).unwrap(), 0);
    one(&tracer, "io read", "hw.name=modem", Status::Unset);
    assert_eq!(
        source.read_exact(&mut three),
        Err(ReadExactError::UnexpectedEof)
    );
    one(
        &tracer,
        "io read_exact",
        "hw.name=modem error.type=unexpected_eof",
        Status::Error,
    );

    let mut buffer = [0; 4];
    let mut sink = Traced::new(&mut buffer[..], &tracer);
    assert_eq!(sink.write(b"ab").unwrap(), 2);
    one(&tracer, "io write", "io.bytes_written=2", Status::Unset);
    sink.flush().unwrap();
    one(&tracer, "io flush", "", Status::Unset);
    sink.write_all(b"cd").unwrap();
    one(&tracer, "io write_all", "io.bytes_written=2", Status::Unset);
    assert!(sink.write_all(b"e").is_err());
    one(
        &tracer,
        "io write_all",
        "error.type=write_zero",
        Status::Error,
    );
    assert_eq!(&buffer, b"abcd");

    struct Ready;
    impl embedded_io::ErrorType for Ready {
        type Error = core::convert::Infallible;
    }
    impl embedded_io::ReadReady for Ready {
        fn read_ready(&mut self) -> Result<bool, Self::Error> {
            Ok(true)
        }
    }
    let Ok(is_ready) = embedded_io::ReadReady::read_ready(&mut Traced::new(Ready, &tracer));
    assert!(is_ready && spans(&tracer).is_empty());
}

/// A device that answers when it is polled for the third time, and traces what it does itself.
struct Slow<'a>(&'a TestTracer);
impl embedded_io::ErrorType for Slow<'_> {
    type Error = embedded_io::ErrorKind;
}
impl embedded_io_async::Read for Slow<'_> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        let mut polls = 0;
        core::future::poll_fn(|_| {
            polls += 1;
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        drop::<Span<_, InlineBuf<8>>>(self.0.span("dma").kind(SpanKind::Client).start());
        bytes.fill(7);
        Ok(bytes.len())
    }
}

/// The parent is the context that is current when the operation begins; the operation's span is current while
/// the device works; between polls neither is.
#[test]
fn the_operation_is_current_while_it_is_polled() {
    use embedded_io_async::Read;
    let tracer: TestTracer = TestTracer::new();
    let mut outer: Span<_, InlineBuf<8>> = (&tracer).span("outer").kind(SpanKind::Client).start();
    let mut stream = Traced::new(Slow(&tracer), &tracer);
    let mut bytes = [0; 2];
    let mut read = pin!(stream.read(&mut bytes));
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(outer.run(|_| read.as_mut().poll(&mut cx)).is_pending());
        assert!(spanlet::Recorder::current(&tracer).is_none());
        tracer.clock().advance(5);
    }
    assert_eq!(
        outer.run(|_| read.as_mut().poll(&mut cx)),
        Poll::Ready(Ok(2))
    );
    outer.end();
    tracer.with_spans(|spans| {
        let (outer, read) = (
            spans.named("outer").unwrap(),
            spans.named("io read").unwrap(),
        );
        assert_eq!(read.parent_id(), Some(outer.span_id()));
        assert_eq!(read.end().0 - read.start().0, 10);
        let dma = spans.named("dma").unwrap();
        assert_eq!(dma.parent_id(), Some(read.span_id()));
        assert_eq!(dma.trace_id(), outer.trace_id());
    });
}

/// A timeout that drops the operation: said, and not called a failure.
#[test]
fn a_dropped_operation_says_so() {
    use embedded_io_async::Read;
    let tracer: TestTracer = TestTracer::new();
    let mut stream = Traced::new(Slow(&tracer), &tracer);
    assert!(poll_once(stream.read(&mut [0; 2])).is_pending());
    one(&tracer, "io read", "error.type=cancelled", Status::Unset);
    // Never polled: never begun.
    drop(stream.read(&mut [0; 2]));
    assert!(spans(&tracer).is_empty());
}

#[test]
fn what_is_sampled_out_records_nothing_and_works() {
    use embedded_hal::i2c::I2c;
    let tracer = TestTracer::with_sampler(AlwaysOff);
    let mut i2c = Traced::new(I2cMock::new(&[I2cStep::write(1, vec![2])]), &tracer);
    i2c.write(1u8, &[2]).unwrap();
    i2c.into_inner().done();
    assert!(spans(&tracer).is_empty());
}

/// A driver in a library, with the facade; a device's static tracer behind it.
#[test]
fn through_the_facade_into_a_static_tracer() {
    use embedded_hal::i2c::I2c;
    static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 1024> =
        Tracer::new(ManualClock::new(), DeviceIds::new(1, 1), AlwaysOn);
    let mut buffer = [0; 4];
    let mut stream = Traced::new(&mut buffer[..], Global);
    embedded_io::Write::write_all(&mut stream, b"a").unwrap();
    set_global_tracer(&TRACER).unwrap();
    let mut outer: Span<_, InlineBuf<8>> = TRACER.span("outer").start();
    outer
        .run(|_| embedded_io::Write::write_all(&mut stream, b"b"))
        .unwrap();
    // A ten-bit device, straight into the tracer.
    struct Nothing;
    impl embedded_hal::i2c::ErrorType for Nothing {
        type Error = core::convert::Infallible;
    }
    impl I2c<u16> for Nothing {
        fn transaction(
            &mut self,
            address: u16,
            _: &mut [embedded_hal::i2c::Operation<'_>],
        ) -> Result<(), Self::Error> {
            assert_eq!(address, 0x3ff);
            Ok(())
        }
    }
    let Ok(()) = Traced::new(Nothing, &TRACER).write(0x3ffu16, &[]);
    let parent = outer.context().span_id();
    let mut records = TRACER.records().unwrap();
    let (_, write) = records.peek().unwrap();
    assert_eq!(
        (write.name(), write.parent_id()),
        ("io write_all", Some(parent))
    );
    records.advance();
    let (_, ten_bit) = records.peek().unwrap();
    assert_eq!((ten_bit.name(), ten_bit.parent_id()), ("i2c write", None));
    let address = ten_bit.attributes().next().unwrap();
    assert_eq!(
        (address.key, address.value),
        ("i2c.address", Value::I64(0x3ff))
    );
    assert_eq!(
        TRACER.counters().started,
        3,
        "none before the tracer was installed"
    );
}
