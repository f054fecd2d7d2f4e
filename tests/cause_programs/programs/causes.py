"""Python parents that leave zombies: `causes.py NAME [COMMAND...]`."""

import multiprocessing
import os
import subprocess
import sys
import time


def popen_kept():
    """Start processes, keep the objects, and never poll them."""
    kept = [subprocess.Popen(["sleep", "0.2"]) for _ in range(3)]
    time.sleep(1000)
    print(kept)


def popen_dropped():
    """Drop each object: the next Popen polls for it, and so reaps late."""
    while True:
        subprocess.Popen(["sleep", "0.1"])
        time.sleep(3)


def fork():
    """Fork and never wait."""
    if not os.fork():
        os._exit(0)
    time.sleep(1000)


def pool():
    """Start processes and never join them."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=time.sleep, args=(0.2,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    time.sleep(1000)


def supervise():
    """Block in wait() for one process while another exits."""
    leaked = subprocess.Popen(["sleep", "0.2"])
    subprocess.Popen(["sleep", "1000"]).wait()
    print(leaked)


def run_others():
    """Run and reap commands, again and again, beside one that is never reaped."""
    leaked = subprocess.Popen(["sleep", "0.2"])
    while True:
        subprocess.run(["sleep", "0.3"], check=True)
    print(leaked)


def poll_all():
    """Poll every child once, after three seconds, by PID."""
    while True:
        children = [subprocess.Popen(["sleep", "0.1"]) for _ in range(2)]
        time.sleep(3)
        for child in children:
            child.poll()


def pid1():
    """Run a command that leaves an orphan, and run on."""
    subprocess.run(sys.argv[2:], check=True)
    time.sleep(1000)


globals()[sys.argv[1]]()
