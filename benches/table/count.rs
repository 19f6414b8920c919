//! Instructions an operation: this program again, under callgrind.
//!
//! Input: callgrind's files, one a case. Output: a count for each row and name. Needs valgrind, and x86-64 for its
//! client requests.

use crate::measure::Measured;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// By row and name.
pub(crate) type Counts = HashMap<(String, String), f64>;

/// Counts the cases that `wanted` chooses.
pub(crate) fn instructions(wanted: &[String]) -> Result<Counts, String> {
    let mut arguments = vec!["count"];
    arguments.extend(wanted.iter().map(String::as_str));
    under_callgrind(&arguments)
}

/// Runs this program with these arguments, and reads what it had callgrind count.
pub(crate) fn under_callgrind(arguments: &[&str]) -> Result<Counts, String> {
    let folder = std::env::temp_dir().join(format!("spanlet-count-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let counted = run(&folder, arguments).and_then(|()| read(&folder));
    // What is left behind in a temporary folder does no harm.
    let _ = std::fs::remove_dir_all(&folder);
    counted
}

fn run(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = format!("--callgrind-out-file={}", folder.join("out").display());
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .args(["--separate-threads=yes", &out])
        .arg(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| format!("valgrind: {e}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("valgrind: {status}"))
}

fn read(folder: &Path) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for file in std::fs::read_dir(folder)
        .map_err(|e| e.to_string())?
        .flatten()
    {
        // What the first thread did: a drain that wakes up meanwhile is not part of the operation.
        if file.file_name().to_string_lossy().ends_with("-01") {
            let text = std::fs::read_to_string(file.path()).map_err(|e| e.to_string())?;
            counts.extend(parse(&text));
        }
    }
    Ok(counts)
}

/// A dump's name and its total.
fn parse(dump: &str) -> Option<((String, String), f64)> {
    let after = |prefix: &str| dump.lines().find_map(|line| line.strip_prefix(prefix));
    let mut name = after("desc: Trigger: Client Request: ")?.split('|');
    let (row, case, ops) = (name.next()?, name.next()?, name.next()?);
    let total: f64 = after("summary: ")
        .or_else(|| after("totals: "))?
        .trim()
        .parse()
        .ok()?;
    Some(((row.into(), case.into()), total / ops.parse::<f64>().ok()?))
}

/// Puts the counts where they belong.
pub(crate) fn fill(measured: &mut [Measured], counts: &Counts) {
    for m in measured {
        m.instructions = counts.get(&(m.row.id.into(), m.name.clone())).copied();
    }
}
