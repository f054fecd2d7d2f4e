"""Draw docs/live-view.svg and write the README's log line, both from one real run.

`make picture` runs `tracer --follow` on a terminal while `tracer emulate` makes zombies in
cgroups that are named as a kubelet names those of pods; the API server of the tests lists
these pods. What the terminal then shows is drawn, and the agent's line about the first of
these zombies replaces the one in the README. Needs root and a cgroup hierarchy.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from html import escape
from pathlib import Path

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / "tests"))

from support.cgroups import cgroup, mounts  # noqa: E402 - after sys.path
from support.kube_api import KubeApi  # noqa: E402
from support.pods import container_id, pod  # noqa: E402

TRACER = (sys.executable, "-m", "tracer")
PICTURE = REPO / "docs" / "live-view.svg"
README = REPO / "README.md"
BEGIN, END = "<!-- log line: written by make picture -->\n", "<!-- end of log line -->\n"
COLUMNS, ROWS = 112, 60
WORKLOADS = (
    ("checkout", "7d9f8c6b54", "x2lqz", "parent_never_waits", 3),
    ("mailer", "5c6f7d8b9d", "k8v4p", "init_does_not_reap", 1),
    ("reports", "6b8d5f9c7c", "q7hwn", "parent_stopped", 2),
)
HOLD_SECONDS = 7
SECONDS = 9.0


def pods():
    """Return (pod, its cgroup's path, cause, count) of each workload."""
    for name, template, suffix, cause, count in WORKLOADS:
        one = pod(
            f"{name}-{template}-{suffix}",
            namespace="shop",
            owner=("ReplicaSet", f"{name}-{template}"),
            labels={"app": name, "pod-template-hash": template},
        )
        uid = one["metadata"]["uid"]
        yield one, f"kubepods/burstable/pod{uid}/{container_id(uid, 'app', 0)}", cause, count


def hierarchy():
    """Return where to make cgroups: the v1 hierarchy of pids where there is one, else v2."""
    for folder, options in mounts("cgroup"):
        if "pids" in options:
            return folder
    return next(folder for folder, _ in mounts("cgroup2"))


def read_terminal(descriptor, seconds, running=()):
    """Return what a program wrote to its terminal in this time; reap the running meanwhile."""
    deadline, written = time.monotonic() + seconds, b""
    while (left := deadline - time.monotonic()) > 0:
        for process in running:
            process.poll()
        if select.select([descriptor], [], [], min(left, 0.1))[0]:
            with contextlib.suppress(OSError):
                written += os.read(descriptor, 1 << 16)
    return written.decode()


def record():
    """Run everything, and return (what the terminal got, the agent's log lines)."""
    api = KubeApi()
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.callback(api.close)
        emulators, running = [], []
        for one, path, cause, count in pods():
            api.put(one)
            home = stack.enter_context(cgroup(hierarchy(), path))
            emulators.append((home, cause, count))
        options = ("-n", "shop", "--state-dir", "none", "--node-name", "worker-1")
        options += (
            "--kubeconfig",
            api.kubeconfig(folder / "kubeconfig"),
            "--min-age",
            "1s",
            "--log-level",
            "warning",
        )
        view = subprocess.Popen(
            [*TRACER, "--follow", *options],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            env=os.environ | {"TERM": "xterm-256color", "TZ": "UTC"},
        )
        agent = subprocess.Popen([*TRACER, *options], stdout=subprocess.PIPE, text=True)
        stack.callback(agent.communicate)
        stack.callback(agent.terminate)
        stack.callback(view.wait)
        stack.callback(view.terminate)
        lines = []
        threading.Thread(target=lambda: lines.extend(agent.stdout), daemon=True).start()
        shown = read_terminal(ours, 2.0)
        for home, cause, count in emulators:
            command = f'echo $$ > {home}/cgroup.procs; exec "$@"'
            arguments = ("--cause", cause, "--count", str(count), "--hold", f"{HOLD_SECONDS}s")
            emulator = subprocess.Popen(
                ["/bin/sh", "-c", command, "sh", *TRACER, "emulate", *arguments],
                stdout=subprocess.DEVNULL,
            )
            running.append(emulator)
            stack.callback(emulator.wait)
            stack.callback(emulator.terminate)
            shown += read_terminal(ours, 0.7, running)
        shown += read_terminal(ours, SECONDS, running)
    return shown, [json.loads(line) for line in lines]


def screen(text):
    """Return the lines of a terminal that was sent this text, escape sequences among it."""
    lines, row = [""], 0
    for part in re.split(r"(\r?\n|\x1b\[\d*[AJ])", text):
        if part.endswith("\n"):
            row += 1
        elif part.endswith("A") and part.startswith("\x1b["):
            row = max(0, row - int(part[2:-1] or 1))
        elif part.endswith("J") and part.startswith("\x1b["):
            lines[row:] = [""]
        else:
            lines[row] += part
        lines += [""] * (row + 1 - len(lines))
    return [line for line in lines if line]


STYLES = {
    "1": 'font-weight="bold"',
    "2": 'fill="#8b949e"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#7ee787"',
    "33": 'fill="#e3b341"',
    "36": 'fill="#76e3ea"',
}
CHARACTER, LINE, MARGIN = 8.0, 19, 16


def draw(lines):
    """Return the lines as SVG: one text a line, one tspan a change of colour."""
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    width = int(max(map(len, plain)) * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    label = "tracer --follow shows each zombie with its parent, pod and cause"
    font = "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
    size = f'width="{width}" height="{height}"'
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size}',
        f' role="img" aria-label="{label}">',
        f'<rect {size} rx="8" fill="#0d1117"/>',
        f'<g font-family="{font}" font-size="13" fill="#e6edf3">',
    ]
    for number, line in enumerate(lines):
        style, spans, column = "", [], 0
        for part in re.split(r"(\x1b\[[\d;]*m)", line):
            if part.startswith("\x1b["):
                codes = part[2:-1].split(";")
                style = " ".join(STYLES[code] for code in codes if code in STYLES)
            elif part:
                # Each run of words at its own place: not every renderer keeps spaces.
                for run in re.finditer(r"\S+(?: \S+)*", part):
                    x = MARGIN + (column + run.start()) * CHARACTER
                    length = f'x="{x:g}" textLength="{len(run[0]) * CHARACTER:g}"'
                    spans.append(f"<tspan {length} {style}>{escape(run[0])}</tspan>")
                column += len(part)
        drawn.append(f'<text y="{MARGIN + 13 + number * LINE}">{"".join(spans)}</text>')
    return "\n".join([*drawn, "</g>", "</svg>", ""])


def wrapped(value, indent=0):
    """Return JSON in lines of about 96 characters, broken between fields."""
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or indent + len(text) < 96:
        return text
    if isinstance(value, list):
        parts = [wrapped(one, indent + 1) for one in value]
    else:
        parts = [f"{json.dumps(key)}: {wrapped(one, indent + 1)}" for key, one in value.items()]
    lines = [parts[0]]
    for part in parts[1:]:
        if "\n" in lines[-1] + part or indent + len(lines[-1]) + len(part) > 94:
            lines.append(part)
        else:
            lines[-1] += f", {part}"
    start, end = "{}" if isinstance(value, dict) else "[]"
    return start + f",\n{' ' * (indent + 1)}".join(lines) + end


def main():
    shown, events = record()
    lines = ["\x1b[1m$ tracer --follow -n shop --min-age 1s\x1b[0m", *screen(shown)]
    detected = [one for one in events if one["event"] == "zombie_detected"]
    if len(detected) < sum(count for *_, count in WORKLOADS):
        sys.exit(f"only {len(detected)} zombies were detected; the picture is not complete")
    PICTURE.write_text(draw(lines), "utf-8")
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    line = f"```json\n{wrapped(detected[0])}\n```\n"
    README.write_text(f"{before}{BEGIN}{line}{END}{after}", "utf-8")
    print(f"{PICTURE.relative_to(REPO)}: {len(lines)} lines; README.md: one log line")


if __name__ == "__main__":
    main()
