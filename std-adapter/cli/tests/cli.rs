//! The real binary: what it prints, where, and how it ends.

#[path = "../../tests/devices/mod.rs"]
mod devices;

use devices::{Io, device, tracer, wait_until, with_hello, work};
use spanlet::drain::{Delivery, Drain};
use spanlet::frame::{Epoch, Hello, Link};
use spanlet::testing::ManualClock;
use spanlet::{AlwaysOn, DeviceIds, InlineBuf, Span, Status, Ticks, Tracer};
use spanlet_std::clock::ClockError;
use spanlet_std::receiver::otlp_http::{Answer, OtlpHttpReceiver};
use spanlet_std::trace::{AttributeValue, read_json_lines};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

fn spanlet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanlet"));
    command.args(args).env_clear();
    command
}
fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}
fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

/// Compares with a file, or writes it if `SPANLET_BLESS` is set.
fn assert_golden(name: &str, bytes: &[u8]) {
    if std::env::var_os("SPANLET_BLESS").is_some() {
        std::fs::write(golden(name), bytes).unwrap();
    }
    let expected = std::fs::read(golden(name)).unwrap();
    match (core::str::from_utf8(bytes), core::str::from_utf8(&expected)) {
        (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{name}"),
        _ => assert!(bytes == expected, "{name} differs"),
    }
}

/// A device's first minute, with what can go wrong on a serial line.
fn capture() -> Vec<u8> {
    static TRACER: Tracer<ManualClock, DeviceIds, AlwaysOn, 8192> =
        Tracer::new(ManualClock::new(), DeviceIds::unset(), AlwaysOn);
    TRACER.ids().set(0x0a0b_0c0d, 3);
    let mut drain: Box<Drain<2048, 32>> =
        Box::new(Drain::new(Epoch(3), Link::stream(), Delivery::OneWay));
    let mut records = TRACER.records().unwrap();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut send = |drain: &mut Drain<2048, 32>| {
        let mut bytes = Vec::new();
        drain.heartbeat();
        drain
            .drain(&mut records, &mut Io(&mut bytes), TRACER.clock(), 100)
            .unwrap();
        frames.push(bytes);
    };
    assert!(with_hello("greenhouse", 0, |hello| drain.message(hello)));
    TRACER.clock().set(Ticks(2_000_000));
    for round in 0..6 {
        let mut cycle: Span<_, InlineBuf<40>> = TRACER.span("control cycle").start();
        cycle.set_attribute("round", round);
        TRACER.clock().advance(1_500);
        {
            let mut read: Span<_, InlineBuf<40>> =
                TRACER.span("read humidity").parent(&cycle).start();
            TRACER
                .clock()
                .advance(42_000 + 1000 * u64::from(round == 4) * 800);
            read.set_attribute("percent", 55.5);
            if round == 4 {
                read.set_status(Status::Error);
                read.add_event("bus timeout", &[]);
            }
        }
        TRACER.clock().advance(900);
        drop(cycle);
        send(&mut drain);
        TRACER.clock().advance(9_000_000);
    }
    // The third is damaged, the fourth comes twice, and the console prints something in between.
    frames[2][20] ^= 0x40;
    frames.insert(4, frames[3].clone());
    frames.insert(2, b"\r\nboot: watchdog off\r\n\0".to_vec());
    frames.concat()
}

#[test]
fn a_golden_capture_is_decoded_drawn_and_summed_up() {
    let capture = capture();
    assert_golden("capture.bin", &capture);
    let file = golden("capture.bin");
    let file = file.to_str().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = spanlet(&["decode", file]).output().unwrap();
    assert!(status.success());
    assert_golden("capture.jsonl", &stdout);
    assert_golden("capture.summary.txt", &stderr);
    let spans = read_json_lines(text(&stdout)).unwrap();
    assert_eq!(
        spans.len(),
        10,
        "12 were recorded, 2 were in the damaged frame"
    );
    let drawn = spanlet(&[
        "decode",
        "--waterfall",
        "--ascii",
        "--quiet",
        "--width=90",
        file,
    ]);
    let Output {
        status,
        stdout,
        stderr,
    } = { drawn }.output().unwrap();
    assert!(status.success());
    assert_golden("capture.waterfall.txt", &stdout);
    assert_eq!(text(&stderr), "");
    // From standard input, in odd pieces, it is the same.
    let mut child = spanlet(&["decode", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for piece in capture.chunks(7) {
        stdin.write_all(piece).unwrap();
    }
    drop(stdin);
    let piped = child.wait_with_output().unwrap();
    assert_golden("capture.jsonl", &piped.stdout);
}

#[test]
fn times_follow_from_boot_time_and_tick_rate() {
    let (file, boot) = (golden("capture.bin"), 1_700_000_000u64);
    let output = spanlet(&["decode", "-q", "--boot-time", &boot.to_string()])
        .arg(&file)
        .output()
        .unwrap();
    let spans = read_json_lines(text(&output.stdout)).unwrap();
    let first = spans.iter().map(|span| span.start_unix_ns).min();
    assert_eq!(first, Some(boot * 1_000_000_000 + 2_000_000_000));
    // Without the hello the rate is what one says, and the device is unknown.
    let capture = std::fs::read(file).unwrap();
    // Behind the delimiter that comes first on a link.
    let hello = 1 + capture[1..].iter().position(|byte| *byte == 0).unwrap();
    let mut child = spanlet(&["decode", "--tick-hz=1000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&capture[hello..])
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        text(&output.stderr).starts_with("unidentified at capture: "),
        "{output:?}"
    );
    let spans = read_json_lines(text(&output.stdout)).unwrap();
    let cycle = spans
        .iter()
        .find(|span| span.name == "control cycle")
        .unwrap();
    assert_eq!(cycle.duration_ns(), 44_400_000 * 1000);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let capture = std::fs::read(golden("capture.bin")).unwrap();
    for args in [&["decode", "-"][..], &["decode", "--waterfall"]] {
        let mut child = spanlet(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().unwrap();
        // It may be gone before it has read all of this.
        let _ = stdin.write_all(&capture);
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?} {output:?}");
        assert!(!text(&output.stderr).contains("panicked"), "{output:?}");
    }
}

#[test]
fn errors_say_what_to_do_and_usage_errors_are_told_apart() {
    let fails = |args: &[&str], code, says: &str| {
        let output = spanlet(args).stdin(Stdio::null()).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?} {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        if code == 1 {
            assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
            assert!(stderr.starts_with("spanlet: "), "{stderr}");
        }
        assert_eq!(text(&output.stdout), "");
    };
    fails(
        &["decode", "/no/such/file"],
        1,
        "cannot open /no/such/file: ",
    );
    fails(
        &["decode", env!("CARGO_BIN_EXE_spanlet")],
        1,
        "no frame in these ",
    );
    fails(&["decode", "--tick-hz=0"], 2, "--tick-hz");
    fails(&["decode", "--nonsense"], 2, "--nonsense");
    fails(&["gateway"], 2, "--otlp");
    fails(&["gateway", "--listen=here", "--waterfall"], 2, "--listen");
    fails(
        &["gateway", "--waterfall", "--ping-every=0"],
        2,
        "--ping-every",
    );
    fails(
        &["gateway", "--waterfall", "--max-rate-error=600000"],
        2,
        "--max-rate-error",
    );
    fails(&["gateway", "--otlp=ftp://x"], 1, "--otlp ftp://x: ");
    fails(
        &[
            "gateway",
            "--waterfall",
            "--listen=127.0.0.1:0",
            "--control=0.0.0.0:0",
        ],
        1,
        "add --allow-remote",
    );
    fails(
        &["gateway", "--waterfall", "--listen=0.0.0.0:0"],
        1,
        "--allow-remote",
    );
    fails(
        &["gateway", "--json=/no/such/dir/x"],
        1,
        "cannot write /no/such/dir/x: ",
    );
    fails(&[], 2, "Usage: spanlet");
    let empty = spanlet(&["decode"]).stdin(Stdio::null()).output().unwrap();
    assert!(
        empty.status.success(),
        "an empty capture holds nothing: {empty:?}"
    );
    for args in [
        &["--help"][..],
        &["decode", "--help"],
        &["gateway", "--help"],
    ] {
        let output = spanlet(args).output().unwrap();
        assert!(output.status.success());
        assert!(
            args.len() == 1 || text(&output.stdout).contains("Examples:"),
            "{args:?}"
        );
    }
}

/// A running gateway and the address that it says.
struct Running {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<std::process::ChildStderr>,
}

fn gateway(args: &[&str]) -> Running {
    let mut child = spanlet(&["gateway", "--listen=127.0.0.1:0", "--stats=1"])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening at ").expect(&line);
    Running {
        address: address.parse().unwrap(),
        child,
        stderr,
    }
}

impl Running {
    /// Ends it as a service manager does; what it printed.
    fn end(mut self, signal: &str) -> (String, String) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(kill.success());
        let (mut err, mut out) = (String::new(), String::new());
        self.stderr.read_to_string(&mut err).unwrap();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{err}");
        (out, err)
    }
}

#[test]
fn a_gateway_in_front_of_a_collector() {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let to = arrived.clone();
    let collector = OtlpHttpReceiver::bind("127.0.0.1:0", move |request| {
        to.lock().unwrap().extend(request.trace_spans());
        Answer::Accept
    })
    .unwrap();
    // As people write it, without the path.
    let url = format!("http://{}", collector.local_addr());
    let json = std::env::temp_dir().join(format!("spanlet-cli-{}.jsonl", std::process::id()));
    let running = gateway(&["--otlp", &url, "--json", json.to_str().unwrap()]);
    let tracer = tracer(1);
    let mut device = device("door", 1, Delivery::OneWay, tracer);
    device.connect(running.address);
    for n in 0..25 {
        work(tracer, n);
        assert!(device.send());
    }
    wait_until("all at the collector", || {
        arrived.lock().unwrap().len() == 50
    });
    let (out, err) = running.end("-TERM");
    assert_eq!(out, "");
    assert!(err.contains("door: 50 started = 50 exported\n"), "{err}");
    let mut written = read_json_lines(&std::fs::read_to_string(&json).unwrap()).unwrap();
    std::fs::remove_file(json).unwrap();
    let mut arrived = core::mem::take(&mut *arrived.lock().unwrap());
    written.sort_by_key(|span| span.span_id.to_bytes());
    arrived.sort_by_key(|span| span.span_id.to_bytes());
    assert_eq!(written, arrived);
}

/// What a test of a device's times needs: each span with its Unix times and the stated bound, as they come.
#[test]
fn a_gateway_states_how_far_off_times_of_a_device_may_be() {
    let json = std::env::temp_dir().join(format!("spanlet-clock-{}.jsonl", std::process::id()));
    let running = gateway(&["--json", json.to_str().unwrap(), "--ping-every=0.05"]);
    let tracer = tracer(0x78);
    let resend = Delivery::Acknowledged {
        resend_after_ticks: 100_000,
    };
    let mut punctual = device("punctual", 1, resend, tracer);
    punctual.connect(running.address);
    let mut before = Vec::new();
    let read = || {
        let text = std::fs::read_to_string(&json).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        read_json_lines(whole).unwrap()
    };
    wait_until("20 readings", || {
        if before.len() < 20 {
            before.push(devices::unix_ns());
            work(tracer, before.len() as i64);
        }
        punctual.send();
        punctual.listen();
        read().len() == 40
    });
    for span in read().iter().filter(|span| span.name == "reading") {
        let Some(ClockError::Within(bound)) = span.clock_error() else {
            panic!("{:?}", span.attributes)
        };
        let AttributeValue::I64(n) = span.attributes[0].1 else {
            panic!("{:?}", span.attributes)
        };
        // A busy machine may take its time between this reading of the clock and the span's.
        let off = span.start_unix_ns.abs_diff(before[n as usize - 1]);
        assert!(off <= bound + 20_000_000, "{off} ns off, {bound} stated");
    }
    let (_, stderr) = running.end("-TERM");
    assert!(
        stderr.contains("punctual: 40 started = 40 exported"),
        "{stderr}"
    );
    std::fs::remove_file(&json).unwrap();
}

#[test]
fn a_gateway_reads_standard_input_to_its_end() {
    let mut child = spanlet(&["gateway", "--json=-", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for piece in std::fs::read(golden("capture.bin")).unwrap().chunks(97) {
        input.write_all(piece).unwrap();
    }
    drop(input);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let err = text(&stderr);
    assert_eq!(status.code(), Some(0), "{err}");
    assert_eq!(read_json_lines(text(&stdout)).unwrap().len(), 10);
    assert!(err.contains("12 started = 10 exported"), "{err}");
    assert!(!err.contains("listening"), "{err}");
}

#[test]
fn a_gateway_goes_to_bridges_that_listen() {
    let bridge = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, gone) = (bridge.local_addr().unwrap(), nobody.local_addr().unwrap());
    drop(nobody);
    let (connect, also) = (format!("--connect={address}"), format!("--connect={gone}"));
    let mut child = spanlet(&["gateway", "--json=-", "--stats=1", &connect, &also])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut board, _) = bridge.accept().unwrap();
    for piece in std::fs::read(golden("capture.bin")).unwrap().chunks(41) {
        board.write_all(piece).unwrap();
    }
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut says = |what: &str| {
        let (mut said, mut line) = (String::new(), String::new());
        while stderr.read_line(&mut line).unwrap() != 0 {
            said += &line;
            if line.contains(what) {
                return;
            }
            line.clear();
        }
        panic!("{said}");
    };
    says(&format!("connecting to {address}"));
    says("1 devices (1 connected): 12 started = 10 exported");
    // Its port is open, nothing is said on it any more, and Ctrl-C ends the gateway all the same.
    let running = Running {
        child,
        address,
        stderr,
    };
    let (out, err) = running.end("-INT");
    assert_eq!(read_json_lines(&out).unwrap().len(), 10);
    assert!(
        err.contains(&format!("{gone}: ")),
        "says who is not there: {err}"
    );
    assert!(err.contains("attempts to connect failed"), "{err}");
}

#[test]
fn a_gateway_draws_traces_and_says_what_it_lost() {
    let running = gateway(&["--waterfall", "--ascii", "--width=80"]);
    let tracer = tracer(2);
    let mut device = device("window", 1, Delivery::OneWay, tracer);
    device.connect(running.address);
    work(tracer, 7);
    assert!(device.send());
    // Sent into nowhere: only the device's next word tells of them.
    device.disconnect();
    work(tracer, 8);
    device.connect(running.address);
    assert!(device.send());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (out, err) = running.end("-INT");
    let traces = out.lines().filter(|line| line.starts_with("trace "));
    assert_eq!(traces.count(), 2, "{out}");
    assert!(out.contains("sample adc"), "{out}");
    assert!(!out.contains('\x1b'), "no colours into a pipe: {out}");
    assert!(err.contains("window: 4 started = 4 exported"), "{err}");
}

#[test]
fn commands_to_devices_over_http() {
    let mut running = gateway(&["--waterfall", "--control=127.0.0.1:0"]);
    let mut line = String::new();
    running.stderr.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("commands to devices at ");
    let url = url.expect(&line).to_owned();
    let agent: ureq::Agent = (ureq::Agent::config_builder().http_status_as_error(false))
        .build()
        .into();
    let post = |path: &str, traceparent: &str, body: &[u8]| {
        let request = agent.post(format!("{url}{path}"));
        let request = request.header("traceparent", traceparent);
        request.send(body).unwrap().status().as_u16()
    };
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut device = device("the fan", 1, Delivery::OneWay, tracer(3));
    device.capabilities = Hello::COMMANDS;
    device.connect(running.address);
    assert!(device.send());
    let commands = "/devices/the%20fan/commands";
    wait_until("the device is known", || {
        post(commands, caller, b"on") == 202
    });
    device.listen();
    assert_eq!(post(commands, "none", b"on"), 400);
    assert_eq!(post(commands, caller, &[0; 193]), 413);
    assert_eq!(post("/devices/thefan/commands", caller, b"on"), 404);
    assert_eq!(post("/devices/%zz/commands", caller, b"on"), 404);
    assert_eq!(post("/", caller, b"on"), 404);
    let got = agent.get(format!("{url}{commands}")).call().unwrap();
    assert_eq!(got.status(), 405);
    device.disconnect();
    wait_until("the device has gone", || {
        post(commands, caller, b"on") == 503
    });
    running.end("-TERM");
}
