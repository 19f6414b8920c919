#!/usr/bin/env python3
"""Finds the bottleneck of traces on its own, to check what spanlet says.

Input: spans as JSON lines (a file, or standard input). Output: one JSON object for each trace.
Bound: quadratic in the spans of a trace; for demos and tests, not for production traces.

    bottleneck_oracle.py spans.jsonl
    bottleneck_oracle.py --self-test

The definitions are those of std-adapter/src/trace/critical_path.rs; the algorithm is not. Time is cut
at every start and end into elementary intervals, within which nothing begins or ends. For each of them, from the
last to the first, one question is asked afresh, from the entry downwards: whom does this span wait for?
"""

import argparse
import json
import sys
from collections import Counter


class Span:
    def __init__(self, line):
        self.trace = line["traceId"]
        self.id = line["spanId"]
        self.parent_id = line.get("parentSpanId")
        self.name = line["name"]
        self.service = line.get("service", "")
        self.kind = line.get("kind", "internal")
        self.start = int(line["startTimeUnixNano"])
        self.end = int(line["endTimeUnixNano"])
        self.links = [(l["traceId"], l["spanId"]) for l in line.get("links", [])]
        self.calls = []
        self.linked = []

    @property
    def duration(self):
        return max(0, self.end - self.start)

    @property
    def answers(self):
        return self.kind in ("server", "consumer")


def grow(lines):
    """Distinct spans, hung under their parents. Returns the roots by trace."""
    spans = {}
    for line in lines:
        span = Span(line)
        spans.setdefault((span.trace, span.id), span)

    # Where each one hangs: (the span above, whether by a link).
    above = {}
    for span in spans.values():
        parent = spans.get((span.trace, span.parent_id))
        if parent is not None:
            above[span] = (parent, False)
            continue
        linked = next((spans[l] for l in span.links if l in spans), None)
        above[span] = (linked, linked is not None)

    # Cut rings: a span that meets itself on the way up is in one.
    for span in spans.values():
        ring, at = [span], above[span][0]
        while at is not None and at not in ring:
            ring.append(at)
            at = above[at][0]
        if at is span:
            cut = min(ring, key=lambda s: (not above[s][1], s.start, -s.end, s.id))
            above[cut] = (None, False)

    roots = {}
    for span, (parent, by_link) in above.items():
        if parent is None:
            roots.setdefault(span.trace, []).append(span)
        else:
            (parent.linked if by_link else parent.calls).append(span)
    return roots


def below(span, with_linked=False):
    found, todo = [], [span]
    while todo:
        at = todo.pop()
        found.append(at)
        todo.extend(at.calls + at.linked if with_linked else at.calls)
    return found


def longest(spans):
    return min(spans, key=lambda s: (-s.duration, s.start, s.id))


def entry_of(roots):
    root = longest(roots)
    if root.answers:
        return root
    # The first servers and consumers on each way down.
    first, todo = [], [root]
    while todo:
        for call in todo.pop().calls:
            (first if call.answers else todo).append(call)
    detached = [s for s in first if s.end > root.end and s.duration > root.duration]
    return longest(detached) if detached else root


def cuts(spans):
    return sorted({t for s in spans for t in (s.start, s.end)})


def self_times(spans):
    """For each span, the elementary intervals that none of its calls covers."""
    own = Counter()
    for span in spans:
        edges = [t for t in cuts([span, *span.calls]) if span.start <= t <= span.end]
        for a, b in zip(edges, edges[1:]):
            if not any(c.start <= a and b <= c.end for c in span.calls):
                own[span] += b - a
    return own


def waits_for(span, low, at):
    """The call that explains what the span does just before `at`, or None for the span itself.

    `low` is where the part of the span that is on the path begins.
    """
    calls = [c for c in span.calls if c.duration > 0]
    finished = [c for c in calls if low < c.end <= at]
    running = [c for c in calls if c.end > at > c.start]
    last = min(finished, key=lambda c: (-c.end, c.start, c.id), default=None)
    first = min(running, key=lambda c: (c.start, c.id), default=None)
    if last is None:
        return first
    length = last.end - max(last.start, low)
    if first is not None and at - last.end > length:
        return first
    return last


def critical_self_times(entry):
    """For each span, the elementary intervals of the critical path that are its own."""
    own = Counter()
    edges = [t for t in cuts(below(entry)) if entry.start <= t <= entry.end]
    # The spans that the path is in, the entry first, each with the start of its part of the path.
    inside = [(entry, entry.start)]
    for a, b in reversed(list(zip(edges, edges[1:]))):
        while inside[-1][1] >= b:
            inside.pop()
        while True:
            span, low = inside[-1]
            call = waits_for(span, low, b)
            if call is None or call.end < b:
                break
            inside.append((call, max(call.start, low)))
        own[span] += b - a
    return own


def judge(roots):
    entry = entry_of(roots)
    spans = [s for root in roots for s in below(root, with_linked=True)]
    own, critical = self_times(spans), critical_self_times(entry)
    if not critical:
        return {"traceId": entry.trace, "spans": len(spans), "bottleneck": None}
    ns = lambda counts: {s.id: counts[s] for s in spans if counts[s]}
    worst = min(critical, key=lambda s: (-critical[s], s.start, s.id))
    return {
        "traceId": entry.trace,
        "spans": len(spans),
        "entry": entry.id,
        "totalNs": entry.duration,
        "bottleneck": {
            "spanId": worst.id,
            "name": worst.name,
            "service": worst.service,
            "criticalSelfNs": critical[worst],
            "share": critical[worst] / entry.duration,
            "percent": (critical[worst] * 100 + entry.duration // 2) // entry.duration,
        },
        "selfNs": ns(own),
        "criticalSelfNs": ns(critical),
    }


def judge_lines(text):
    roots = grow(json.loads(line) for line in text.splitlines() if line.strip())
    return [judge(r) for _, r in sorted(roots.items())]


# Hand-made traces: "id parent kind start end", then the bottleneck and each span's time on the path.
SELF_TESTS = {
    "a chain": ("1 - server 0 100, 2 1 server 10 90", "2", {"1": 20, "2": 80}),
    "calls in sequence": (
        "1 - server 0 100, 2 1 client 0 40, 3 1 client 45 100",
        "3",
        {"1": 5, "2": 40, "3": 55},
    ),
    "parallel calls: the last to end": (
        "1 - server 0 100, 2 1 client 10 60, 3 1 client 10 90",
        "3",
        {"1": 20, "3": 80},
    ),
    "a call that outlives its parent is not waited for": (
        "1 - server 0 100, 2 1 consumer 50 900, 3 1 client 10 95",
        "3",
        {"1": 15, "3": 85},
    ),
    "nothing else explains the wait: cut at the parent's end": (
        "1 - server 0 100, 2 1 client 10 101",
        "2",
        {"1": 10, "2": 90},
    ),
    "overlapping calls": (
        "1 - server 0 100, 2 1 client 0 99, 3 1 client 98 100, 4 1 client 3 4",
        "2",
        {"2": 98, "3": 2},
    ),
    "a finished call explains more than it leaves": (
        "1 - server 0 100, 2 1 client 0 60, 3 1 client 50 100, 4 1 client 0 49",
        "3",
        {"1": 1, "3": 50, "4": 49},
    ),
    "skew: a call that starts before its parent": (
        "1 - server 50 100, 2 1 server 0 90, 3 2 client 0 80",
        "3",
        {"1": 10, "2": 10, "3": 30},
    ),
    "end before start": (
        "1 - server 0 10, 2 1 client 9 3, 3 2 client 2 8",
        "1",
        {"1": 10},
    ),
    "a root that does not wait": (
        "1 - internal 0 5, 2 1 client 1 4, 3 2 server 3 300, 4 3 client 10 290",
        "4",
        {"3": 17, "4": 280},
    ),
    "a lost parent": ("1 9 server 0 50, 2 - server 0 10", "1", {"1": 50}),
    "a ring": ("1 2 server 0 50, 2 1 server 10 20", "1", {"1": 40, "2": 10}),
    "nothing at all": ("1 - server 7 7", None, {}),
}


def self_test():
    def line(text):
        id, parent, kind, start, end = text.split()
        parent = {} if parent == "-" else {"parentSpanId": parent}
        times = {"startTimeUnixNano": start, "endTimeUnixNano": end}
        return {"traceId": "t", "spanId": id, "name": id, "kind": kind} | parent | times

    failed = 0
    for title, (spans, bottleneck, critical) in SELF_TESTS.items():
        (roots,) = grow(line(s) for s in spans.split(", ")).values()
        got = judge(roots)
        found = got["bottleneck"] and got["bottleneck"]["spanId"]
        if (found, got.get("criticalSelfNs", {})) != (bottleneck, critical):
            failed += 1
            print(f"FAILED {title}: {json.dumps(got)}", file=sys.stderr)
    print(f"{len(SELF_TESTS) - failed} of {len(SELF_TESTS)} hand-made traces agree")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="JSON lines; standard input if left out")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if args.file:
        with open(args.file, encoding="utf-8") as file:
            text = file.read()
    else:
        text = sys.stdin.read()
    for verdict in judge_lines(text):
        print(json.dumps(verdict))
    return 0


if __name__ == "__main__":
    sys.exit(main())
