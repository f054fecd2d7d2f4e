"""The state folder in real folders: kill -9, a full disk, read-only, two agents."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tracer.errors import PermanentError
from tracer.model import Child, Identity, Zombie
from tracer.state.saved import EMPTY, SavedState, SavedStorm, SavedZombie, pack_members
from tracer.state.store import JOURNAL, SNAPSHOT, StateStore

BOOT = "boot-1"


def zombie(pid: int) -> Zombie:
    return Zombie(
        Child(Identity(pid, pid * 10), 1, pid * 1000, exit_boot_ns=pid * 2000),
        first_seen_boot_ns=pid * 3000,
        detected_boot_ns=pid * 4000,
    )


def saved(pid: int, step_ns: int | None = None) -> SavedZombie:
    of = zombie(pid)
    return SavedZombie(of.child, of.first_seen_boot_ns, of.detected_boot_ns, step_ns)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(folder, said):
    made = StateStore(folder, BOOT, say=said.append)
    made.lock()
    yield made
    made.close()


def load(folder, boot=BOOT, said=None):
    return StateStore(folder, boot, say=[].append if said is None else said.append).load()


def test_nothing_is_there_at_first_and_nobody_complains(folder, said):
    assert load(folder, said=said) == EMPTY
    assert not folder.exists()
    assert said == []


def test_what_was_noted_is_there_without_any_save(store, folder):
    store.note_detected(zombie(1))
    store.note_detected(zombie(2))
    store.note_step(Identity(2, 20), 60)
    store.note_detected(zombie(3))
    store.note_gone(Identity(1, 10))
    assert load(folder).zombies == (saved(2, 60), saved(3))


def test_a_save_replaces_and_notes_go_on_from_it(store, folder):
    store.note_detected(zombie(1))
    state = SavedState(
        (saved(5),), (SavedStorm(Identity(9, 90), 1, members=pack_members([(4, 4)])),), 77
    )
    store.save(state)
    assert load(folder) == state
    store.note_detected(zombie(6))
    assert load(folder).zombies == (saved(5), saved(6))
    assert load(folder).storms == state.storms


def test_the_next_agent_goes_on_with_the_journal(store, folder):
    store.note_detected(zombie(1))
    store.close()
    second = StateStore(folder, BOOT)
    second.lock()
    second.note_detected(zombie(2))
    second.close()
    assert load(folder).zombies == (saved(1), saved(2))


def test_another_boot_starts_from_nothing(store, folder, said):
    store.save(SavedState((saved(5),)))
    store.note_detected(zombie(1))
    assert load(folder, "boot-2", said) == EMPTY
    store.close()
    second = StateStore(folder, "boot-2")
    second.lock()
    second.note_detected(zombie(2))
    second.close()
    assert load(folder, "boot-2").zombies == (saved(2),)
    assert said == []


@pytest.mark.parametrize("name", [SNAPSHOT, JOURNAL])
@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0" * 100,
        b"{}\n",
        b'{"format":"zombie-tracer-state","version":99}\n',
        os.urandom(5000),
    ],
    ids=["empty", "zeros", "no-header", "version-99", "random"],
)
def test_garbage_is_said_once_and_ignored(folder, said, name, garbage):
    folder.mkdir()
    (folder / name).write_bytes(garbage)
    store = StateStore(folder, BOOT, say=said.append)
    assert store.load() == EMPTY
    if garbage or name == SNAPSHOT:
        assert len(said) == 1
        assert f"{folder}/{name}" in said[0]
    store.lock()
    store.note_detected(zombie(1))
    store.save(SavedState((saved(1),)))
    store.close()
    assert load(folder).zombies == (saved(1),)


def test_a_pipe_or_a_link_in_place_of_a_file_neither_blocks_nor_leads_away(folder, tmp_path, said):
    folder.mkdir()
    os.mkfifo(folder / SNAPSHOT)
    target = tmp_path / "precious"
    target.write_text("keep me")
    (folder / JOURNAL).symlink_to(target)
    store = StateStore(folder, BOOT, say=said.append)
    assert store.load() == EMPTY
    store.lock()
    store.note_detected(zombie(1))
    store.close()
    assert target.read_text() == "keep me"
    assert said


def test_a_second_agent_is_refused_and_told_whose_pid_it_is(store, folder):
    second = StateStore(folder, BOOT)
    with pytest.raises(PermanentError, match=rf"pid {os.getpid()}\) already works.*{folder}"):
        second.lock()
    store.close()
    second.lock()
    second.close()


def test_a_reader_needs_no_lock_and_writes_nothing(store, folder):
    store.note_detected(zombie(1))
    before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir())
    reader = StateStore(folder, BOOT)
    assert reader.load().zombies == (saved(1),)
    reader.note_detected(zombie(2))
    reader.save(SavedState())
    reader.close()
    assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir()) == before


def test_none_keeps_nothing():
    store = StateStore(None, BOOT)
    store.lock()
    store.note_detected(zombie(1))
    store.save(SavedState((saved(1),)))
    assert store.load() == EMPTY
    store.close()
    store.close()


def test_a_folder_removed_by_hand_is_made_again(store, folder):
    import shutil

    store.note_detected(zombie(1))
    shutil.rmtree(folder)
    store.save(SavedState((saved(2),)))
    store.note_detected(zombie(3))
    assert load(folder).zombies == (saved(2), saved(3))


def test_the_files_are_for_their_owner_only(store, folder):
    store.save(SavedState((saved(1),)))
    store.note_detected(zombie(2))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {entry.stat().st_mode & 0o777 for entry in folder.iterdir()} == {0o600}


def test_a_long_journal_asks_for_a_save(store):
    assert not store.wants_save()
    for pid in range(1, 40_000):
        store.note_gone(Identity(pid, 2**60))
        if store.wants_save():
            break
    else:
        for pid in range(1, 40_000):
            store.note_detected(zombie(pid))
    assert store.wants_save()
    store.save(EMPTY)
    assert not store.wants_save()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import StateStore, zombie, saved, SavedState
store = StateStore(Path({folder!r}), "boot-1")
store.lock()
for pid in range(1, 1_000_000):
    store.note_detected(zombie(pid))
    print(pid, flush=True)
    if pid % 50 == 0:
        store.save(SavedState(tuple(saved(p) for p in range(1, pid + 1))))
"""


def test_kill_9_at_any_moment_forgets_nothing_that_was_logged(folder):
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder))
    for lines in (1, 49, 50, 51, 130):
        logged = []
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        ) as agent:
            for line in agent.stdout:
                logged.append(int(line))
                if len(logged) == lines:
                    agent.send_signal(signal.SIGKILL)
                    break
            logged += [int(line) for line in agent.stdout if line.endswith("\n")]
        said = []
        known = {each.child.identity.pid for each in load(folder, said=said).zombies}
        assert said == []
        assert set(logged) <= known
        # Noted and then killed before the line was out: one at most.
        assert len(known - set(logged)) <= 1
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
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"], check=True)
folder, said = Path("/mnt/state"), []
store = StateStore(folder, BOOT, say=said.append)
"""
    return subprocess.run(
        ["unshare", "-m", sys.executable, "-c", setup + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_full_disk_is_said_once_and_what_fitted_stays():
    done = in_mount_namespace("""
store.lock()
for pid in range(1, 2000):
    store.note_detected(zombie(pid))
assert len(said) == 1 and "No space left" in said[0], said
known = load(folder).zombies
assert 50 < len(known) < 2000 and known == tuple(saved(p) for p in range(1, len(known) + 1))
store.save(SavedState(tuple(saved(pid) for pid in range(1, 2000))))
assert len(said) == 1, said
assert load(folder).zombies == known
assert not (folder / "state.part").exists()
# Room again: it works again, and new trouble is said again.
subprocess.run(["mount", "-o", "remount,size=128k", "/mnt"], check=True)
store.save(SavedState((saved(1),)))
assert load(folder).zombies == (saved(1),)
for pid in range(2, 2000):
    store.note_detected(zombie(pid))
assert len(said) == 2, said
print("fine")
""")
    assert done.stdout == "fine\n", done.stderr


def test_a_read_only_folder_is_said_once_and_still_tells_of_another_agent():
    done = in_mount_namespace("""
store.lock()
store.note_detected(zombie(1))
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=False)
store.close()
subprocess.run(["mount", "-o", "remount,ro", "/mnt"], check=True)
second, third = (StateStore(folder, BOOT, say=said.append) for _ in range(2))
assert second.load().zombies == (saved(1),)
second.lock()
for pid in range(2, 9):
    second.note_detected(zombie(pid))
second.save(SavedState())
assert len(said) == 1 and "Read-only" in said[0], said
try:
    third.lock()
except PermanentError as error:
    print(error)
fresh = StateStore(Path("/mnt/other"), BOOT, say=said.append)
fresh.lock()
fresh.note_detected(zombie(1))
assert len(said) == 2, said
print("fine")
""")
    assert done.stdout.endswith("fine\n"), done.stderr
    assert "already works" in done.stdout
