//! The command `link-faults`: a device's bytes through a real process.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_link-faults"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Running {
            child,
            input,
            output,
        }
    }
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
    fn say(&mut self, commands: &str) {
        writeln!(self.input, "{commands}").unwrap();
    }
    /// Both directions, after all commands before it were done.
    fn report(&mut self) -> (String, String) {
        self.say("report");
        (self.line(), self.line())
    }
}

#[track_caller]
fn read(from: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    let read = from.read_exact(&mut bytes);
    assert!(read.is_ok(), "{read:?} of {bytes:?}");
    bytes
}

#[test]
fn does_what_it_is_told() {
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = gateway.local_addr().unwrap().to_string();
    let mut proxy = Running::start(&["127.0.0.1:0", &at, "7", "up.duplicate=100%"]);
    let line = proxy.line();
    let address = line.strip_prefix("listening on ").expect("the first line");
    let mut device = TcpStream::connect(address).unwrap();
    let (mut gateway, _) = gateway.accept().unwrap();
    for stream in [&device, &gateway] {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
    }

    device.write_all(&[2, 9, 0]).unwrap();
    assert_eq!(read(&mut gateway, 6), [2, 9, 0, 2, 9, 0]);
    gateway.write_all(&[2, 8, 0]).unwrap();
    assert_eq!(
        read(&mut device, 3),
        [2, 8, 0],
        "down nothing was asked for"
    );

    proxy.say("heal cut");
    let _ = proxy.report();
    device.write_all(&[2, 7, 0]).unwrap();
    // Only then it is sure to have vanished.
    while !proxy.report().0.contains(" cut_bytes=3 ") {}
    proxy.say("pass corrupt=100%");
    let _ = proxy.report();
    device.write_all(&[2, 5, 6, 0]).unwrap();
    let damaged = read(&mut gateway, 4);
    assert!(
        damaged
            .iter()
            .zip([2, 5, 6, 0])
            .all(|(got, sent)| *got != sent)
    );

    proxy.say("heal stall");
    let _ = proxy.report();
    device.write_all(&[2, 4, 0]).unwrap();
    gateway
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(gateway.read(&mut [0]).is_err(), "held back");
    gateway
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    proxy.say("pass");
    assert_eq!(read(&mut gateway, 3), [2, 4, 0]);

    proxy.say("quit");
    let (up, down) = (proxy.line(), proxy.line());
    assert!(
        up.starts_with("up frames=3 ") && up.contains(" duplicated=1 "),
        "{up}"
    );
    assert!(down.starts_with("down frames=1 bytes=3 "), "{down}");
    assert!(proxy.child.wait().unwrap().success());
}

#[test]
fn refuses_what_it_does_not_know() {
    for wrong in ["fly", "corrupt=200%", "up.fly=1%", "wait=-1"] {
        let out = Command::new(env!("CARGO_BIN_EXE_link-faults"))
            .args(["127.0.0.1:0", "127.0.0.1:1", wrong])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(2), "{wrong}");
        assert!(!out.stderr.is_empty(), "{wrong}");
    }
}
