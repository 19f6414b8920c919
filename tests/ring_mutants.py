#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the rings and asks the test that should find it.

    tests/ring_mutants.py [loom] [flight_loom] [step] [model] [crash] [recovery] [-k WORD]

Exits 1 when a bug survives or no longer applies. The copy and its builds live in a temporary folder
(set MUTANTS_TARGET to keep the builds)."""
import os, re, shutil, signal, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RING = "core/src/ring/"
M, S, P, R, H = (RING + f for f in ("mpsc.rs", "storage.rs", "spsc.rs", "reserve.rs", "header.rs"))
F, V, O, C = RING + "flight.rs", RING + "flight_recover.rs", "core/src/flight/open_table.rs", "core/src/flight/recover.rs"

# Not planted: refusing on a stale view of the tail, which costs a needless (counted) refusal and no test sees; a
# check word of the flight ring without the lap of its place, which the record's number tells as well.
# What, file, pattern (a regular expression, whose first match is replaced), replacement, test.
MUTANTS = [
    # Orderings of Ring.
    ("commit not Release", M, r"(set_header\(start, header\.word\(\), )Release", r"\1Relaxed", "loom"),
    ("header not Acquire", M, r"(memory\.header\(at, )Acquire", r"\1Relaxed", "loom"),
    ("tail not Acquire", M, r"(progress\.0\.tail\.load\()Acquire", r"\1Relaxed", "loom"),
    ("release not Release", M, r"(tail\.store\(tail, )Release", r"\1Relaxed", "loom"),
    ("reader handed on Relaxed", M, r"(has_reader\.store\(0, )Release", r"\1Relaxed", "loom"),
    ("reader taken over Relaxed", R, r"(compare_exchange\(0, 1, )Acquire", r"\1Relaxed", "loom"),
    ("tail moved before clearing", M, r"(let mut tail = self\.tail;)", r"\1 self.ring.progress.0.tail.store(self.cursor.get(), Release);", "loom"),
    # Algorithm of Ring.
    ("head not compared", R, r"position\s*\.compare_exchange\(current, new, Relaxed, Relaxed\)\s*\.is_ok\(\)", "{ let _ = current; position.store(new, Relaxed); true }", "step"),
    ("head not compared", R, r"position\s*\.compare_exchange\(current, new, Relaxed, Relaxed\)\s*\.is_ok\(\)", "{ let _ = current; position.store(new, Relaxed); true }", "loom"),
    ("head not compared in the section", R, r"let ours = position\.load\(Relaxed\) == current;", "let ours = true;", "step"),
    ("compared outside the section", R, r"(?s)lock\.with\(\|\| \{(\s*// ORDERING: the section keeps other writers out; see.*?ours\s*)\}\)", r"{ let _ = lock; \1 }", "step"),
    ("counted outside the section", R, r"lock\.with\(\|\| (counter\.store\(.*?, Relaxed\))\);", r"{ let _ = lock; \1; }", "step"),
    ("commit before the copy", M, r"(?s)(// SAFETY: \(1\) reserved just now.*?\n        \}\n)(.*?)(unsafe \{ self\.memory\.set_header\(start.*?\};)", r"\3 \1\2", "step"),
    ("words not cleared", S, r"write\(0\) \};", "read() };", "model"),
    ("only the header cleared", M, r"left -= 1;\s*header\.len\(\)", "left -= 1; 1", "model"),
    ("padding not cleared", M, r"_ => 1,", "_ => 0,", "model"),
    ("no padding", M, r"if start != head \{", "if false {", "model"),
    ("one word over", M, r"(end\.wrapping_sub\(tail\) > Self::CAPACITY)", r"\1 + 1", "model"),
    ("never quite full", M, r"(end\.wrapping_sub\(tail\) >)( Self::CAPACITY)", r"\1=\2", "model"),
    ("straddles by one word", M, r"len <= to_end", "len <= to_end + 1", "model"),
    ("empty record taken", M, r"len\.wrapping_sub\(1\) >= Self::MAX_WORDS", "len > Self::MAX_WORDS", "model"),
    ("reader laps itself", M, r"if at\.wrapping_sub\(self\.tail\) >= Ring::<N, M>::CAPACITY", "if false", "model"),
    ("acknowledges the unread", M, r"if count > self\.ahead\.get\(\)", "if false", "model"),
    ("sequence off by one", M, r"sequence: self\.released\.wrapping_add\(ahead\)", "sequence: self.released.wrapping_add(ahead + 1)", "model"),
    ("rewind keeps the count", M, r"(self\.cursor\.set\(self\.tail\);\s*)self\.ahead\.set\(0\);", r"\1", "model"),
    ("refusal not counted", M, r"M::count\(&self\.lock, counter\);", "let _ = counter;", "model"),
    ("first word's high half lost", S, r"high\.write\(", "let _ = high; let _ = (", "model"),
    # SpscRing.
    ("spsc: commit not Release", P, r"(head\.store\(head, )Release", r"\1Relaxed", "loom"),
    ("spsc: head not Acquire", P, r"(writer\.0\.head\.load\()Acquire", r"\1Relaxed", "loom"),
    ("spsc: release not Release", P, r"(tail\.0\.store\(self\.tail, )Release", r"\1Relaxed", "loom"),
    ("spsc: tail not Acquire", P, r"(tail\.0\.load\()Acquire", r"\1Relaxed", "loom"),
    ("spsc: gone not Release", P, r"(gone\.store\(1, )Release", r"\1Relaxed", "loom"),
    ("spsc: gone not Acquire", P, r"(gone\.load\()Acquire", r"\1Relaxed", "loom"),
    ("spsc: commits the whole group", P, r"self\.commit\(FIXED \+ len\);", "self.commit(FIXED + groups);", "model"),
    ("spsc: no padding", P, r"if padding > 0 \{", "if padding > 0 && false {", "model"),
    ("spsc: padding not counted", P, r"if free < padding \+ n \{", "if free < n {", "model"),
    ("spsc: limit beyond the end", P, r"free\.min\(contiguous\)\.min\(window\)", "free.min(window)", "model"),
    ("spsc: limit beyond the free", P, r"free\.min\(contiguous\)\.min\(window\)", "contiguous.min(window)", "model"),
    ("spsc: window not applied", P, r"free\.min\(contiguous\)\.min\(window\)", "free.min(contiguous)", "model"),
    ("spsc: parts of another length", P, r"if groups != len\.wrapping_add\(GROUP - 1\) & !\(GROUP - 1\) \{", "if false {", "model"),
    ("spsc: short record by the fast path", P, r"len\.checked_sub\(FIXED\)", "Some(len.saturating_sub(FIXED))", "model"),
    ("second part misplaced", M, r"start\.wrapping_add\(first\.len\(\)\)", "start.wrapping_add(first.len() + rest.len() / 2)", "model"),
    ("spsc: last group not copied", P, r"while i < groups \{", "while i + GROUP < groups {", "model"),
    ("spsc: release too much", P, r"self\.tail = self\.cursor\.get\(\);", "self.tail = self.head.get();", "model"),
    ("spsc: finished with records unread", P, r"!= 0 && writer\.head\.load\(Relaxed\) == self\.cursor\.get\(\)", "!= 0", "model"),
    ("spsc: refusal not counted", P, r"counter\.store\(counter\.load\(Relaxed\)\.wrapping_add\(1\), Relaxed\);", "let _ = counter;", "model"),
    # FlightRing and what a boot makes of it.
    ("flight: number not compared", F, r"let is_ours = self\.next\.load\(Relaxed\) == number;", "let is_ours = true;", "step"),
    ("flight: head compared, not the number", F, r"self\.next\.load\(Relaxed\) == number;", "self.head.load(Relaxed) == head;", "flight_loom"),
    ("flight: number not Acquire", F, r"(number = self\.next\.load\()Acquire", r"\1Relaxed", "flight_loom"),
    ("flight: commit not Release", F, r"(State::Committed, slot_words\)\.word\(\), )Release", r"\1Relaxed", "flight_loom"),
    ("flight: overtaken unseen", F, r"is_before\(at, ring\.lock\.with\(\|\| ring\.tail\.load\(Relaxed\)\)\)", "{ let _ = (at, ring); false }", "flight_loom"),
    ("flight: evicts a writer", F, r"if oldest\.is_some_and\(\|oldest\| oldest\.state\(\) == State::Reserved\)", "if false", "step"),
    ("flight: eviction not compared", F, r"if self\.tail\.load\(Relaxed\) == from", "if true", "step"),
    ("flight: overtaken unseen", F, r"is_before\(at, ring\.lock\.with\(\|\| ring\.tail\.load\(Relaxed\)\)\)", "{ let _ = (at, ring); false }", "step"),
    ("flight: head before the header", F, r"(at\.store\(header, Relaxed\);)", r"self.head.store(end, Release); \1", "crash"),
    ("flight: commit before the check word", F, r"(?s)(let mut check = Self::check_of\(start, number, slot_words\);)", r"self.words.low(start).store(Header::of(State::Committed, slot_words).word(), Release); \1", "crash"),
    ("flight: check not checked", V, r"== check\.word\(\)", "== check.word() || true", "crash"),
    ("flight: check without the number", F, r"check\.add\(number\);", "let _ = number;", "recovery"),
    ("flight: next number not mended", V, r"self\.next\.store\(next, Release\);", "let _ = next;", "crash"),
    ("flight: count before the number of a read", F, r"ring\.read_number\.set_value\(after\);", "", "crash"),
    ("open spans: not marked as ending", O, r"self\.0\.state\.store\(ENDING, Release\);", "", "crash"),
    ("open spans: whole record, open span", C, r"slot\.free\(\);\s*\}\s*\}\);", "let _ = slot; } });", "crash"),
    ("open spans: check not checked", O, r"== state_of\(check\)", "== state_of(check) || true", "recovery"),
]
TESTS = {
    "loom": ("--cfg loom", "ring_loom"),
    "flight_loom": ("--cfg loom", "flight_loom"),
    "step": ("--cfg step", "ring_interrupts"),
    "model": ("", "ring_model"),
    "crash": ("--cfg step", "flight_crash"),
    "recovery": ("", "flight_recovery"),
}


# Several times what a pass takes.
LIMIT_S = {"loom": 240, "flight_loom": 240, "step": 240, "model": 120, "crash": 240, "recovery": 120}


def main():
    words = sys.argv[1:]
    only = words[words.index("-k") + 1] if "-k" in words else ""
    chosen = [m for m in MUTANTS if (m[4] in words or not set(words) & set(TESTS)) and only in m[0]]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("target*", ".git"))
        target = os.environ.get("MUTANTS_TARGET", os.path.join(folder, "target"))
        for what, path, pattern, new, test in chosen:
            original = open(os.path.join(copy, path)).read()
            text, hits = re.subn(pattern, new, original, count=1)
            if hits == 0 or text == original:
                outcome = "DOES NOT APPLY"
            else:
                open(os.path.join(copy, path), "w").write(text)
                outcome = ask(copy, target, test)
                open(os.path.join(copy, path), "w").write(original)
            bad += outcome.isupper()
            print(f"{outcome:16} {test:11} {what}", flush=True)
    print(f"{len(chosen)} planted, {bad} not found")
    return bad > 0


def ask(copy, target, test):
    flags, name = TESTS[test]
    env = dict(
        os.environ,
        RUSTFLAGS=flags,
        CARGO_TARGET_DIR=os.path.join(target, test),
        CARGO_PROFILE_RELEASE_LTO="off",
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS="16",
        CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS="true",
        LOOM_MAX_BRANCHES="20000",
    )
    cargo = ["cargo", "test", "-q", "--release", "-p", "spanlet-tests", "--test", name]
    built = subprocess.run([*cargo, "--no-run"], cwd=copy, env=env, capture_output=True, text=True)
    if built.returncode:
        print(built.stderr[-2000:])
        return "DOES NOT COMPILE"
    # A group of its own: cargo's child must not outlive it.
    ran = subprocess.Popen(cargo, cwd=copy, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return "SURVIVED" if ran.wait(LIMIT_S[test]) == 0 else "found"
    except subprocess.TimeoutExpired:
        os.killpg(ran.pid, signal.SIGKILL)
        ran.wait()
        return "found (hangs)"


sys.exit(main())
