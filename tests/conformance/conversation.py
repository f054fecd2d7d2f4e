"""The actor's side of the conversation: it claims what it has done, and waits for an answer.

One JSON object a line on stdout; a line on stdin answers each:
    {"zombies": [FACTS, …]}         these are dead and unreaped: every source must report them
    {"parents": [[IDENTITY, PID]]}  these zombies have these parents now
    {"gone": [IDENTITY, …]}         these were reported and are reaped
    {"silent": [IDENTITY, …]}       these must not have been reported, nor be in a snapshot
    {"waits": {…}}                  how a process waited
    {"ready": true}                 begin to watch (scenario `older` alone)
    {"skip": REASON}                this kernel cannot do it; nothing follows
An IDENTITY is [pid, start ticks]. FACTS has `identity`, and what is true of the zombie under the
names of records.Child; `exit_boot_ns` is [earliest, latest]; `forker` and `tracer_pid` are pids;
`pid_namespace` is `own` or `another`, seen from the suite; `exit_status_in_proc` is what the
kernel shows in /proc, where that differs from what the parent gets.
"""

import json
import os
import signal
import sys

from . import linux


def claim(**message):
    """Claim what was done, and wait for the answer."""
    print(json.dumps(message), flush=True)
    if not sys.stdin.readline():
        os.killpg(0, signal.SIGKILL)  # the suite is gone: leave nothing behind


def identity(pid):
    """Return [pid, start ticks] of a process that is there."""
    return [pid, int(linux.stat(pid)[19])]


def zombie(pid, began, **facts):
    """Return the facts of a process that is dead by now and was alive when it began."""
    linux.dead(pid)
    in_proc = int(linux.stat(pid)[49])
    return {
        "exit_status": in_proc,
        "exit_status_in_proc": in_proc,
        "identity": identity(pid),
        "exit_boot_ns": [began, linux.boot_ns()],
        "parent_pid": os.getpid(),
        "exit_parent_pid": os.getpid(),
        "forker": os.getpid(),
        "vpid": pid,
        "uid": os.getuid(),
        "tracer_pid": None,
        "pid_namespace": "own",
    } | facts


def reap(*pids, options=0):
    """Wait for children of ours."""
    for pid in pids:
        os.waitpid(pid, options)


def show(*facts, reaping=None):
    """Claim zombies, reap them, and claim that they are gone."""
    claim(zombies=list(facts))
    if reaping:
        reaping()
    else:
        reap(*(fact["identity"][0] for fact in facts))
    claim(gone=[fact["identity"] for fact in facts])
