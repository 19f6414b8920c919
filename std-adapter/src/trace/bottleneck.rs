//! Critical path → the bottleneck, and why.
//!
//! Input: a [`TraceTree`] and its [`CriticalPath`]. Output: the span to look at, one line that says so, and
//! hints for the next question. Bound: O(n log n).

use std::collections::HashMap;

use super::critical_path::{CriticalPath, Segment};
use super::model::{AttributeValue, SpanKind, Status, TraceSpan, attribute};
use super::text::{HumanDuration, label};
use super::tree::TraceTree;

/// A hint about fewer nanoseconds than this share of the critical path is not given.
const WORTH_PERCENT: u64 = 5;
/// So many equal calls in sequence look like a loop.
const LOOP_CALLS: usize = 4;
/// Event names that are told of one span: a hint is a sentence, not a log.
const EVENT_NAMES: usize = 3;

const HOST_KEYS: &[&str] = &[
    "server.address",
    "http.host",
    "net.peer.name",
    "url.full",
    "http.url",
    "peer.service",
];
const DB_SYSTEM_KEYS: &[&str] = &["db.system.name", "db.system"];
const DB_QUERY_KEYS: &[&str] = &["db.query.text", "db.statement", "db.operation.name"];
/// Parts of a host name that say that it is not what customers should be served from.
const SUSPECT_HOST_PARTS: &[&str] = &[
    "staging",
    "stage",
    "stg",
    "legacy",
    "old",
    "deprecated",
    "test",
    "qa",
    "dev",
    "sandbox",
];

/// The span with the most time of its own on the critical path: the call that took the longest.
///
/// ```
/// use spanlet::{SpanId, TraceId};
/// use spanlet_std::trace::{Bottleneck, CriticalPath, TraceSpan, TraceTree};
/// let trace = TraceId::from_bytes([1; 16]).unwrap();
/// let mut span = TraceSpan::new(trace, SpanId::from_bytes([2; 8]).unwrap(), "fraud-check");
/// span.end_unix_ns = 2_400_000_000;
/// let spans = [span];
/// let trees = TraceTree::build(&spans);
/// let path = CriticalPath::of(&trees[0]).unwrap();
/// let bottleneck = Bottleneck::of(&trees[0], &path).unwrap();
/// assert_eq!(bottleneck.reason, "fraud-check: 2.4 s of 2.4 s, 100 % of the critical path");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bottleneck {
    /// Index into [`TraceTree::nodes`].
    pub node: usize,
    /// Its own nanoseconds on the critical path.
    pub critical_self_ns: u64,
    /// The whole path's nanoseconds.
    pub total_ns: u64,
    /// The share in per cent, rounded to the nearest, 0 to 100.
    pub percent: u8,
    /// One line that names it and its share. Holds names as they came: escape it before a terminal sees it.
    pub reason: String,
    /// What may explain it or help, the most telling first.
    pub hints: Vec<Hint>,
}

/// What a [`Hint`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HintKind {
    /// The bottleneck failed.
    Error,
    /// It was tried more than once.
    Retry,
    /// It waited with no call running.
    Gap,
    /// It talks to a host that does not look right.
    Host,
    /// It is a database call.
    Database,
    /// Some other event was recorded on it.
    Event,
    /// A call was made over and over, one after the other.
    Repeated,
    /// Calls were made one after the other that could have been parallel.
    Sequential,
}

/// An observation that may explain a bottleneck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What it is about.
    pub kind: HintKind,
    /// The node that it was seen on.
    pub node: usize,
    /// A phrase for people. Holds names as they came: escape it before a terminal sees it.
    pub text: String,
}

impl Hint {
    /// Whether it speaks of the bottleneck itself rather than of the shape of the trace.
    pub fn explains(&self) -> bool {
        !matches!(self.kind, HintKind::Repeated | HintKind::Sequential)
    }
}

impl Bottleneck {
    /// The bottleneck of a path; `None` for one that is zero long.
    ///
    /// Of equals, the one that started first. Never panics. Cost: O(n log n).
    pub fn of(tree: &TraceTree<'_>, path: &CriticalPath) -> Option<Self> {
        if path.total_ns == 0 {
            return None;
        }
        let own = |i: usize| path.critical_self_ns[i];
        let node = (0..tree.nodes.len())
            .filter(|&i| path.on_path[i])
            .min_by_key(|&i| {
                let s = tree.nodes[i].span;
                (
                    core::cmp::Reverse(own(i)),
                    s.start_unix_ns,
                    s.span_id.to_bytes(),
                )
            })?;
        let percent = percent(own(node), path.total_ns);
        let reason = format!(
            "{}: {} of {}, {percent} % of the critical path",
            name_with_peer(tree, node),
            HumanDuration(own(node)),
            HumanDuration(path.total_ns),
        );
        let mut bottleneck = Bottleneck {
            node,
            critical_self_ns: own(node),
            total_ns: path.total_ns,
            percent,
            reason,
            hints: Vec::new(),
        };
        bottleneck.explain(tree, path);
        bottleneck.shape(tree, path);
        Some(bottleneck)
    }

    fn hint(&mut self, kind: HintKind, node: usize, text: String) {
        self.hints.push(Hint { kind, node, text });
    }

    /// Hints from the span itself, and from its caller's side of the same call.
    fn explain(&mut self, tree: &TraceTree<'_>, path: &CriticalPath) {
        let node = self.node;
        let caller = tree.nodes[node].parent.filter(|&p| {
            tree.nodes[p].span.kind == SpanKind::Client
                && tree.nodes[node].span.kind == SpanKind::Server
        });
        let sides: Vec<usize> = core::iter::once(node).chain(caller).collect();

        if let Some(&i) = sides
            .iter()
            .find(|&&i| tree.nodes[i].span.status == Status::Error)
        {
            let text = match error_message(tree.nodes[i].span) {
                Some(message) => format!("it failed: {message}"),
                None => "it failed".to_owned(),
            };
            self.hint(HintKind::Error, i, text);
        }
        for &i in &sides {
            self.events(tree.nodes[i].span, i);
        }
        let gap = self.gap(tree, path);
        let hosts = Hosts::of(tree);
        let suspects = sides.iter().copied().chain(gap);
        if let Some((i, text)) = suspects
            .filter_map(|i| Some((i, hosts.suspicion(tree.nodes[i].span)?)))
            .next()
        {
            self.hint(HintKind::Host, i, text);
        }
        let span = tree.nodes[node].span;
        if let Some(system) = span.text(DB_SYSTEM_KEYS) {
            let text = match span.text(DB_QUERY_KEYS) {
                Some(query) => format!("a database call ({system}): {query}"),
                None => format!("a database call ({system})"),
            };
            self.hint(HintKind::Database, node, text);
        }
        self.hints.sort_by_key(|h| match h.kind {
            HintKind::Gap => 0,
            HintKind::Host => 1,
            HintKind::Error => 2,
            HintKind::Retry => 3,
            HintKind::Database => 4,
            _ => 5,
        });
    }

    fn events(&mut self, span: &TraceSpan, node: usize) {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for event in span.events.iter().filter(|e| !is_exception(&e.name)) {
            if let Some((_, count)) = counts.iter_mut().find(|(name, _)| *name == event.name) {
                *count += 1;
            } else if counts.len() < EVENT_NAMES {
                counts.push((&event.name, 1));
            }
        }
        for (name, count) in counts {
            let text = match count {
                1 => format!("a \"{name}\" event"),
                _ => format!("{count} \"{name}\" events"),
            };
            let kind = match is_retry(name) {
                true => HintKind::Retry,
                false => HintKind::Event,
            };
            let why = span.events.iter().find(|e| e.name == name).and_then(|e| {
                let keys = ["reason", "error.type", "error", "exception.message"];
                attribute(&e.attributes, &keys)
            });
            let text = match why {
                Some((_, why)) => format!("{text} ({why})"),
                None => text,
            };
            self.hint(kind, node, text);
        }
    }

    /// A stretch of the bottleneck between its calls that is most of its time; the call after it, if any.
    fn gap(&mut self, tree: &TraceTree<'_>, path: &CriticalPath) -> Option<usize> {
        let length = |s: &Segment| s.end_unix_ns - s.start_unix_ns;
        let (at, gap) = path
            .segments
            .iter()
            .enumerate()
            .filter(|(_, s)| s.node == self.node)
            .max_by_key(|(at, s)| (length(s), core::cmp::Reverse(*at)))?;
        if length(gap) < self.critical_self_ns / 2 || percent(length(gap), self.total_ns) < 10 {
            return None;
        }
        // The neighbouring segment may lie deeper in the call.
        let call_of = |segment: Option<&Segment>| {
            let mut i = segment?.node;
            while let Some(parent) = tree.nodes[i].parent {
                if parent == self.node {
                    return Some(i);
                }
                i = parent;
            }
            None
        };
        let before = call_of(path.segments.get(at + 1));
        let after = call_of(at.checked_sub(1).and_then(|i| path.segments.get(i)));
        let (call, side) = match (before, after) {
            (Some(call), _) => (call, "before"),
            (None, Some(call)) => (call, "after"),
            (None, None) => return None,
        };
        let text = format!(
            "a gap of {} {side} {}, with no call running",
            HumanDuration(length(gap)),
            label(tree.nodes[call].span),
        );
        self.hint(HintKind::Gap, self.node, text);
        before
    }

    /// Hints from the shape of the whole path.
    fn shape(&mut self, tree: &TraceTree<'_>, path: &CriticalPath) {
        let mut found: Vec<(u64, Hint)> = Vec::new();
        for parent in (0..tree.nodes.len()).filter(|&i| path.on_path[i]) {
            let calls: Vec<usize> = path
                .calls_on_path(tree, parent)
                .filter(|&c| {
                    let kind = tree.nodes[c].span.kind;
                    matches!(kind, SpanKind::Client | SpanKind::Server)
                })
                .collect();
            let repeated = repeated_calls(tree, parent, &calls);
            found.extend(repeated.or_else(|| sequential_calls(tree, parent, &calls)));
        }
        found.retain(|(gain_ns, _)| {
            u128::from(*gain_ns) * 100 >= u128::from(self.total_ns) * u128::from(WORTH_PERCENT)
        });
        found.sort_by_key(|(gain_ns, h)| (core::cmp::Reverse(*gain_ns), h.node));
        self.hints.extend(found.into_iter().take(3).map(|(_, h)| h));
    }
}

/// The same call over and over, as a loop over rows would make it.
fn repeated_calls(tree: &TraceTree<'_>, parent: usize, calls: &[usize]) -> Option<(u64, Hint)> {
    let mut groups: HashMap<(&str, &str), (usize, u64)> = HashMap::new();
    for &c in calls {
        let s = tree.nodes[c].span;
        let (count, total_ns) = groups.entry((&s.service, &s.name)).or_default();
        *count += 1;
        *total_ns = total_ns.saturating_add(s.duration_ns());
    }
    let ((_, name), (count, total_ns)) = groups
        .into_iter()
        .max_by_key(|&(name, (_, ns))| (ns, name))?;
    (count >= LOOP_CALLS).then(|| {
        let text = format!(
            "{count} calls of {name} under {} one after the other, {} together: one batched call could do",
            label(tree.nodes[parent].span),
            HumanDuration(total_ns),
        );
        let kind = HintKind::Repeated;
        (total_ns, Hint { kind, node: parent, text })
    })
}

/// The run of calls that do not overlap and, made at once, would save the most.
fn sequential_calls(tree: &TraceTree<'_>, parent: usize, calls: &[usize]) -> Option<(u64, Hint)> {
    let span = |c: usize| tree.nodes[c].span;
    let gain_ns = |run: &[usize]| {
        let all = run
            .iter()
            .fold(0_u64, |sum, &c| sum.saturating_add(span(c).duration_ns()));
        all - run
            .iter()
            .map(|&c| span(c).duration_ns())
            .max()
            .unwrap_or(0)
    };
    let run = calls
        .chunk_by(|&a, &b| span(a).end_unix_ns <= span(b).start_unix_ns)
        .filter(|run| run.len() > 1)
        .max_by_key(|run| gain_ns(run))?;
    let mut names: Vec<String> = run.iter().take(4).map(|&c| label(span(c))).collect();
    if run.len() > names.len() {
        names.push(format!("{} more", run.len() - names.len()));
    }
    let text = format!(
        "{} sequential calls under {} that do not overlap could have been parallel ({}): saves up to {}",
        run.len(),
        label(span(parent)),
        names.join(", "),
        HumanDuration(gain_ns(run)),
    );
    let kind = HintKind::Sequential;
    Some((
        gain_ns(run),
        Hint {
            kind,
            node: parent,
            text,
        },
    ))
}

/// The hosts that a trace talks to, to tell the odd one out.
struct Hosts {
    hosts: Vec<String>,
}

impl Hosts {
    fn of(tree: &TraceTree<'_>) -> Self {
        let hosts = tree.nodes.iter().filter_map(|n| host(n.span));
        Hosts {
            hosts: hosts.map(|(_, host)| host).collect(),
        }
    }

    /// Why the span's host may be the wrong one.
    fn suspicion(&self, span: &TraceSpan) -> Option<String> {
        let (key, host) = host(span)?;
        let others = || self.hosts.iter().filter(|h| **h != host);
        let minority = |alike: usize| alike * 2 < self.hosts.len() || self.hosts.len() < 3;
        let suspect = SUSPECT_HOST_PARTS.iter().find(|part| has_part(&host, part));
        if let Some(part) = suspect {
            let alike = self.hosts.iter().filter(|h| has_part(h, part)).count();
            if minority(alike) {
                return Some(match others().find(|h| !has_part(h, part)) {
                    Some(other) => {
                        format!("{key} is {host}, a {part} host, where others are like {other}")
                    }
                    None => format!("{key} is {host}, a {part} host"),
                });
            }
        }
        let own = domain(&host)?;
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for d in others().filter_map(|h| domain(h)) {
            *counts.entry(d).or_default() += 1;
        }
        let (usual, count) = counts.into_iter().max_by_key(|&(d, count)| (count, d))?;
        (usual != own && count >= 2 && count * 2 > self.hosts.len())
            .then(|| format!("{key} is {host}, where others are in {usual}"))
    }
}

/// Attribute key and host name, without scheme, user, port and path, in lower case.
fn host(span: &TraceSpan) -> Option<(&str, String)> {
    let (key, value) = attribute(&span.attributes, HOST_KEYS)?;
    let AttributeValue::String(text) = value else {
        return None;
    };
    let text = text.split_once("://").map_or(&**text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next()?;
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let text = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            host
        }
        _ => text,
    };
    (!text.is_empty()).then(|| (key, text.to_ascii_lowercase()))
}

fn has_part(host: &str, part: &str) -> bool {
    host.split(['.', '-', '_'])
        .any(|p| p.trim_end_matches(|c: char| c.is_ascii_digit()) == part)
}

/// All but the first label; `None` for addresses and bare names.
fn domain(host: &str) -> Option<&str> {
    let (_, domain) = host.split_once('.')?;
    let address = domain.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (!address).then_some(domain)
}

/// The label, and whom it called where nothing of the callee was seen.
fn name_with_peer(tree: &TraceTree<'_>, node: usize) -> String {
    let span = tree.nodes[node].span;
    let name = label(span);
    match host(span) {
        Some((_, host))
            if span.kind == SpanKind::Client
                && tree.calls(node).next().is_none()
                && domain(&host).is_some()
                && !name.contains(&host) =>
        {
            format!("{name} (to {host})")
        }
        _ => name,
    }
}

/// What a failed span says of its failure.
pub(super) fn error_message(span: &TraceSpan) -> Option<String> {
    let exception = || {
        let event = span.events.iter().find(|e| is_exception(&e.name))?;
        let keys = ["exception.message", "exception.type"];
        attribute(&event.attributes, &keys).map(|(_, v)| v.to_string())
    };
    match span.status_message.as_str() {
        "" => exception().or_else(|| span.text(&["error.type", "http.response.status_code"])),
        message => Some(message.to_owned()),
    }
}

pub(super) fn is_exception(event: &str) -> bool {
    event == "exception" || event.contains("error")
}

pub(super) fn is_retry(event: &str) -> bool {
    event.to_ascii_lowercase().contains("retr")
}

/// Rounded to the nearest; `of` must not be zero.
fn percent(part: u64, of: u64) -> u8 {
    let of = u128::from(of.max(1));
    let percent = (u128::from(part) * 100 + of / 2) / of;
    u8::try_from(percent.min(100)).unwrap_or(100)
}
