"""The state folder in real folders: kill -9, a full disk, read-only, two agents, things that are not ours."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.kernel import require

from tracer.clock import NS
from tracer.errors import PermanentError
from tracer.model import Child, Identity
from tracer.state import store as state_store
from tracer.state.format import Change, SavedState, SavedZombie, encode_change, header
from tracer.state.store import LOCK, PART, READ_LIMIT_BYTES, STATE, StateStore

BOOT = "boot-1"
NOW = 10**6 * NS


def zombie(pid: int, step_ns: int | None = None) -> SavedZombie:
    dead = Child(Identity(pid, pid * 10), 1, pid * 1000, exit_boot_ns=pid * 2000)
    return SavedZombie(dead, pid * 3000, pid * 4000, step_ns)


def known(pid: int, step_ns: int | None = None) -> Change:
    return Change(zombie(pid, step_ns))


def began(folder, said=None, boot=BOOT) -> StateStore:
    """Return the store of an agent that has begun to write there."""
    store = StateStore(folder, boot, say=[].append if said is None else said.append)
    store.lock()
    state = store.load(NOW)
    if store.needs_rewrite:
        store.rewrite(state.changes())
    return store


def load(folder, boot=BOOT, said=None) -> list[SavedZombie]:
    store = StateStore(folder, boot, say=[].append if said is None else said.append)
    return list(store.load(NOW).zombies.values())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(folder, said):
    made = began(folder, said)
    yield made
    made.close()


def test_nothing_is_there_at_first_and_nothing_is_said(folder, said):
    assert load(folder, said=said) == []
    assert not folder.exists()
    assert said == []


def test_what_was_noted_is_there_without_any_save(store, folder):
    store.append([known(1), known(2)])
    store.append([known(2, 60)])
    store.append([known(3)])
    store.append([Change(gone=Identity(1, 10))])
    assert load(folder) == [zombie(2, 60), zombie(3)]


def test_a_new_file_replaces_the_old_and_notes_go_on_from_it(store, folder):
    store.append([known(1)])
    assert store.rewrite([known(5)])
    assert load(folder) == [zombie(5)]
    store.append([known(6)])
    assert load(folder) == [zombie(5), zombie(6)]


def test_the_next_agent_goes_on_with_the_file(store, folder):
    store.append([known(1)])
    store.close()
    inode = (folder / STATE).stat().st_ino
    second = began(folder)
    second.append([known(2)])
    second.close()
    assert load(folder) == [zombie(1), zombie(2)]
    assert (folder / STATE).stat().st_ino == inode


def test_another_boot_starts_from_nothing(store, folder, said):
    store.append([known(1)])
    assert load(folder, "boot-2", said) == []
    store.close()
    second = began(folder, said, "boot-2")
    second.append([known(2)])
    second.close()
    assert load(folder, "boot-2") == [zombie(2)]
    assert said == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 100,
        b"{}\n",
        b'{"format":"zombie-tracer-state","version":1,"kind":"snapshot"}\n',
        os.urandom(5000),
        b"x" * 100_000,
    ],
    ids=["empty", "zeros", "no-header", "version-1", "random", "one-long-line"],
)
def test_a_damaged_file_is_said_once_and_replaced(folder, said, garbage):
    folder.mkdir(mode=0o700)
    (folder / STATE).write_bytes(garbage)
    store = began(folder, said)
    assert len(said) == 1
    assert f"{folder}/{STATE}" in said[0]
    store.append([known(1)])
    store.close()
    assert load(folder, said=said) == [zombie(1)]
    assert len(said) == 1


def test_damaged_lines_are_counted_and_skipped_and_half_a_line_is_dropped(folder, said):
    folder.mkdir(mode=0o700)
    lines = [header(BOOT)] + [encode_change(known(pid)) for pid in range(1, 6)]
    lines[2] = lines[2].replace(b"2000", b"2001")
    lines[4] = b"!" + os.urandom(100).replace(b"\n", b"") + b"\n"
    (folder / STATE).write_bytes(b"".join(lines)[:-20])
    store = began(folder, said)
    assert len(said) == 1
    assert "damaged lines skipped: 2; its last line is incomplete" in said[0]
    assert said[0].endswith("Zombies that were reported before may be reported again now.")
    store.append([known(7)])
    store.close()
    assert load(folder, said=said) == [zombie(1), zombie(3), zombie(7)]
    assert len(said) == 1, "the damage is not carried on"


def test_half_a_line_is_cut_off_before_the_next(store, folder, said):
    store.append([known(1), known(2)])
    store.close()
    data = (folder / STATE).read_bytes()
    (folder / STATE).write_bytes(data[:-20])
    assert load(folder, said=said) == [zombie(1)]
    assert said == [], "to a reader it is a line that is being written"
    second = began(folder, said)
    assert len(said) == 1
    assert "its last line is incomplete and is ignored" in said[0]
    second.append([known(3)])
    second.close()
    assert load(folder, said=said) == [zombie(1), zombie(3)]
    assert len(said) == 1


@pytest.mark.parametrize("rest", [b"", b"\0" * 40])
def test_an_end_that_holds_nothing_is_not_mentioned(store, folder, said, rest):
    store.append([known(1)])
    store.close()
    with (folder / STATE).open("ab") as file:
        file.write(rest)
    again = began(folder, said)
    again.append([known(2)])
    again.close()
    assert load(folder, said=said) == [zombie(1), zombie(2)]
    assert said == []


def make_fifo(path, _):
    os.mkfifo(path)


def make_link(path, target):
    path.symlink_to(target)


def make_dangling_link(path, target):
    path.symlink_to(f"{target}-is-not-there")


def make_directory(path, _):
    path.mkdir()


def make_socket(path, _):
    with socket.socket(socket.AF_UNIX) as made:
        # The path of a socket is short; that of a test's folder may not be.
        os.symlink(path.parent, short := f"/tmp/s{os.getpid()}")
        try:
            made.bind(f"{short}/{path.name}")
        finally:
            os.unlink(short)


def make_device(path, _):
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        require(False, "making a device needs root")


def make_writable_by_all(path, _):
    path.write_bytes(header(BOOT))
    path.chmod(0o666)


def make_another_user_s(path, _):
    path.write_bytes(header(BOOT))
    try:
        os.chown(path, 12345, 12345)
    except PermissionError:
        require(False, "giving a file away needs root")


UNSAFE = {
    "it is a FIFO": make_fifo,
    "it is a symbolic link": make_link,
    "it is a symbolic link, not": make_dangling_link,
    "it is a directory": make_directory,
    "it is a socket": make_socket,
    "it is a device": make_device,
    "other users may write to it": make_writable_by_all,
    "it belongs to another user (uid 12345)": make_another_user_s,
}

RUNS = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import *
said = []
store = began(Path({folder!r}), said)
store.append([known(1)])
store.close()
print("\\n".join(said))
"""


def run_in_time(folder, seconds=20):
    """Run an agent's start as a process, which must not hang, and return what it said."""
    script = RUNS.format(tests=str(Path(__file__).parent), folder=str(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", [STATE, LOCK, PART])
@pytest.mark.parametrize("why", UNSAFE)
def test_what_is_not_our_file_is_refused_and_never_blocks(folder, tmp_path, name, why):
    """Opening a FIFO would wait for its other end, for ever."""
    folder.mkdir(mode=0o700)
    target = tmp_path / "precious"
    target.write_text("keep me")
    UNSAFE[why](folder / name, target)
    lines = run_in_time(folder)
    assert len([line for line in lines if why in line]) == 1, lines
    assert "Remove what is there, or name another folder with --state-dir." in lines[0]
    assert target.read_text() == "keep me"
    assert not Path(f"{target}-is-not-there").exists()
    if name == STATE and UNSAFE[why] is not make_directory:
        assert load(folder) == [zombie(1)], "a file of ours has taken its place"


@pytest.mark.parametrize("why", [why for why in UNSAFE if "directory" not in why])
def test_a_folder_that_is_not_ours_is_refused(folder, tmp_path, why):
    make = UNSAFE[why]
    if make in (make_writable_by_all, make_another_user_s):
        folder.mkdir()
        if make is make_writable_by_all:
            folder.chmod(0o777)
        elif os.geteuid():
            pytest.skip("giving a folder away needs root")
        else:
            os.chown(folder, 12345, 12345)
    else:
        (tmp_path / "target").mkdir()
        make(folder, tmp_path / "target")
    lines = run_in_time(folder)
    assert len(lines) >= 1
    assert f"cannot lock the state in {folder}" in lines[0]
    if make is not make_dangling_link:
        assert why in lines[0] or os.strerror(20) in lines[0] or os.strerror(17) in lines[0]
    assert not (tmp_path / "target" / STATE).exists()


def test_a_file_that_is_too_large_is_refused_without_reading_it(store, folder, said):
    store.close()
    os.truncate(folder / STATE, READ_LIMIT_BYTES + 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load(folder, said=said) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000
    assert len(said) == 1
    assert f"larger than {READ_LIMIT_BYTES >> 20} MB" in said[0]


def test_a_second_agent_is_refused_with_the_pid_of_the_first(store, folder):
    second = StateStore(folder, BOOT)
    with pytest.raises(PermanentError, match=rf"pid {os.getpid()}\) already uses.*{folder}"):
        second.lock()
    store.close()
    second.lock()
    second.close()


def test_a_reader_needs_no_lock_and_writes_nothing(store, folder):
    store.append([known(1)])
    before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir())
    reader = StateStore(folder, BOOT)
    assert list(reader.load(NOW).zombies.values()) == [zombie(1)]
    assert not reader.needs_rewrite
    assert not reader.append([known(2)])
    assert not reader.rewrite([])
    reader.close()
    assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir()) == before


def test_none_keeps_nothing():
    store = StateStore(None, BOOT)
    store.lock()
    assert not store.writes
    assert not store.append([known(1)])
    assert not store.rewrite([known(1)])
    assert store.load() == SavedState()
    store.close()
    store.close()


def test_a_folder_removed_by_hand_is_made_again(store, folder):
    store.append([known(1)])
    shutil.rmtree(folder)
    assert store.needs_rewrite
    store.rewrite([known(2)])
    store.append([known(3)])
    assert load(folder) == [zombie(2), zombie(3)]


def test_the_files_are_for_their_owner_only(store, folder):
    store.append([known(2)])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {entry.stat().st_mode & 0o777 for entry in folder.iterdir()} == {0o600}


def test_a_file_that_has_grown_is_to_be_written_anew(store, folder):
    """By 4 MB, and by its own size."""
    for pid in range(1, 200_000):
        assert not store.needs_rewrite
        store.append([Change(gone=Identity(pid, 2**60))] * 1000)
        if store.grown:
            break
    size = (folder / STATE).stat().st_size
    assert state_store.GROWTH_BYTES < size < state_store.GROWTH_BYTES + 100_000
    assert store.needs_rewrite
    store.rewrite([])
    assert not store.needs_rewrite
    assert (folder / STATE).stat().st_size < 100


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import *
store = began(Path({folder!r}))
for pid in range(1, 1_000_000):
    store.append([known(pid)])
    print(pid, flush=True)
    if pid % 50 == 0:
        store.rewrite([known(p) for p in range(1, pid + 1)])
"""


def test_kill_9_at_any_moment_forgets_nothing_that_was_logged(folder):
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for lines in (1, 49, 50, 51, 130):
        logged = []
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
        ) as agent:
            for line in agent.stdout:
                logged.append(int(line))
                if len(logged) == lines:
                    agent.send_signal(signal.SIGKILL)
                    break
            logged += [int(line) for line in agent.stdout if line.endswith("\n")]
        said = []
        loaded = {each.child.identity.pid for each in load(folder, said=said)}
        assert said == []
        assert set(logged) <= loaded
        # Noted and then killed before the line was out: one at most.
        assert len(loaded - set(logged)) <= 1
        for entry in folder.iterdir():
            entry.unlink()


def in_mount_namespace(script: str) -> subprocess.CompletedProcess:
    """Run Python where /mnt is a tmpfs of 64 kB of its own."""
    if os.geteuid():
        pytest.skip("mounting a small file system needs root")
    setup = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store import *
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", "/mnt"], check=True)
folder, said = Path("/mnt/state"), []
"""
    return subprocess.run(
        ["unshare", "-m", sys.executable, "-c", setup + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_full_disk_is_said_once_and_what_fitted_stays():
    done = in_mount_namespace("""
store = began(folder, said)
for pid in range(1, 2000):
    store.append([known(pid)])
assert len(said) == 1 and "No space left" in said[0], said
fitted = load(folder)
assert 50 < len(fitted) < 2000 and fitted == [zombie(p) for p in range(1, len(fitted) + 1)]
assert store.needs_rewrite
assert not store.rewrite(known(pid) for pid in range(1, 2000))
assert len(said) == 1, said
assert load(folder) == fitted
assert not (folder / PART).exists()
# Room again: it works again, and a new error is reported again.
subprocess.run(["mount", "-o", "remount,size=256k", "/mnt"], check=True)
assert store.needs_rewrite and store.rewrite([known(1)])
assert load(folder) == [zombie(1)]
for pid in range(2, 4000):
    store.append([known(pid)])
assert len(said) == 2, said
print("fine")
""")
    assert done.stdout == "fine\n", done.stderr


def test_a_read_only_folder_is_said_once_and_another_agent_is_still_noticed():
    done = in_mount_namespace("""
store = began(folder, said)
store.append([known(1)])
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=False)
store.close()
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=True)
second, third = (StateStore(folder, BOOT, say=said.append) for _ in range(2))
second.lock()
assert list(second.load(NOW).zombies.values()) == [zombie(1)]
for pid in range(2, 9):
    second.append([known(pid)])
second.rewrite([])
assert len(said) == 1 and "Read-only" in said[0], said
assert "Mount a writable folder there, turn the state off with --state-dir none" in said[0], said
try:
    third.lock()
except PermanentError as error:
    print(error)
fresh = StateStore(Path("/mnt/other"), BOOT, say=said.append)
fresh.lock()
fresh.append([known(1)])
assert len(said) == 2, said
print("fine")
""")
    assert done.stdout.endswith("fine\n"), done.stderr
    assert "already uses" in done.stdout
