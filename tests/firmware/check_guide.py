"""The guide of examples/firmware/README.md, done as it says: a new project, its files, a trace on the terminal."""

import os
import pathlib
import re
import subprocess
import tempfile

from rig import Lines, Process, free_port, wait_until

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = ROOT / "examples/firmware/README.md"
SPANLET = os.environ["SPANLET_BIN"]


def blocks() -> list[tuple[str, str]]:
    """(what the comment above says, text) of each marked block."""
    return re.findall(r"^<!-- ([^:>]+(?:: [^>]+)?) -->\n```\w*\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)


def main(work: pathlib.Path) -> None:
    project, commands, done = work, {}, []
    for what, text in blocks():
        kind, _, path = what.partition(": ")
        done.append(what)
        if kind == "run":
            for line in text.splitlines():
                if line.startswith("cd "):
                    project = project / line.removeprefix("cd ")
                else:
                    subprocess.run(line, shell=True, check=True, cwd=project, stderr=subprocess.DEVNULL)
        elif kind == "file":
            (project / path).parent.mkdir(exist_ok=True)
            (project / path).write_text(text)
        elif kind == "append":
            with (project / path).open("a") as file:
                file.write(text)
        elif kind == "from":
            assert text in (GUIDE.parent / path).read_text(), f"not in {path}:\n{text}"
        else:
            commands[kind] = text.split()
    assert {"run", "file: src/main.rs", "append: Cargo.toml", "gateway", "device"} <= set(done), done

    # The crate of this tree, a port that is free, the compiler that has the target.
    port = free_port()
    with (project / "Cargo.toml").open("a") as file:
        file.write(f'\n[patch.crates-io]\nspanlet = {{ path = "{ROOT}/core" }}\n\n[workspace]\n')
    config = project / ".cargo/config.toml"
    assert "port=4319" in config.read_text()
    config.write_text(config.read_text().replace("port=4319", f"port={port}"))
    cross = os.environ | {"RUSTC": os.environ["GUIDE_RUSTC"], "CARGO_TARGET_DIR": os.environ["GUIDE_TARGET_DIR"]}
    assert commands["device"][:2] == ["cargo", "run"] and commands["gateway"][0] == "spanlet"
    subprocess.run(["cargo", "build", "-q", *commands["device"][2:]], check=True, cwd=project, env=cross)

    listen = ["--listen", f"127.0.0.1:{port}"]
    gateway = [SPANLET, *commands["gateway"][1:], *listen]
    with Process(gateway, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        drawn, said = Lines(shown.process.stdout), Lines(shown.process.stderr)
        wait_until("the gateway listens", lambda: said.find("listening"))
        # In a group of its own: ending cargo would leave QEMU behind.
        with Process(commands["device"], cwd=project, env=cross, stdin=subprocess.DEVNULL, start_new_session=True) as device:
            try:
                row = lambda name: drawn.find(rf"\b{name}\b.*\d+(\.\d+)? ms")
                wait_until("a trace is drawn", lambda: row("read sensor") and row("convert"))
            finally:
                os.killpg(device.process.pid, 9)
    print(f"the guide's {len(done)} steps: {row('read sensor')[0].strip()!r}")


if __name__ == "__main__":
    # Outside this tree, as a reader's project is: `cargo new` inside it would join this workspace.
    with tempfile.TemporaryDirectory() as work:
        main(pathlib.Path(work))
