//! The demo's processes: started, spoken with, and ended on every path.
//!
//! Input: names and environment. Output: where each service listens, and its ledger at the end. Bound: a service
//! that does not answer within [`PATIENCE`] is killed.
//!
//! A service ends when its standard input does. So the services end too when this process is killed, panics
//! or is interrupted, whatever the platform.

use super::DemoError;
use spanlet_std::Ledger;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a service may take to start, to answer or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running process.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Service {
    /// Starts this program again as `demo-service name`.
    pub(crate) fn start(
        name: &'static str,
        environment: &[(String, String)],
    ) -> Result<Self, DemoError> {
        let failed = |cause| DemoError::Start { name, cause };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        // What the user has set for services of their own would change what the demo shows.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("OTEL_") {
                command.env_remove(key);
            }
        }
        command
            .args(["demo-service", name])
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (to, lines) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if to.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Service { name, child, lines })
    }
    /// Waits for the line that begins with `word`; what stands behind it.
    pub(crate) fn line(&self, word: &'static str) -> Result<String, DemoError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let name = self.name;
                return Err(DemoError::Silent { name, word });
            };
            if let Some(rest) = line.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
        }
    }
    /// Has the service send what it has left and end; what became of its spans.
    pub(crate) fn stop(mut self) -> Result<Ledger, DemoError> {
        let name = self.name;
        drop(self.child.stdin.take());
        let text = self.line("ledger")?;
        self.end()?;
        serde_json::from_str(&text).map_err(|cause| DemoError::BadLedger { name, cause })
    }
    /// Waits until it has ended, and checks that it ended well.
    pub(crate) fn end(mut self) -> Result<(), DemoError> {
        drop(self.child.stdin.take());
        let until = Instant::now() + PATIENCE;
        let name = self.name;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(DemoError::Failed { name, status }),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return Err(DemoError::Silent { name, word: "end" }),
                Err(cause) => return Err(DemoError::Start { name, cause }),
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Gone already is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
