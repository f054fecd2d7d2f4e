"""The zombies that other tests rely on are real and leave nothing behind."""

import os

from support.zombies import state, wait_until, zombie_children, zombies


def test_makes_reaps_and_cleans_up():
    with zombies(20, comm="undead") as family:
        assert sorted(family.pids) == zombie_children(family.parent_pid)
        with open(f"/proc/{family.pids[0]}/comm") as file:
            assert file.read() == "undead\n"
        gone = family.reap(5)
        assert len(gone) == 5
        assert len(family.pids) == 15
        killed = family.spawn(1, status=-9)
        assert state(killed[0]) == "Z"
        everyone = [family.parent_pid, *family.pids]
    assert [pid for pid in everyone if state(pid)] == []


def test_a_killed_parent_leaves_its_zombies_to_init():
    with zombies(3) as family:
        pids = list(family.pids)
        family.kill_parent()
        wait_until(lambda: not any(state(pid) for pid in pids), what="reaping by init")


def test_in_a_pid_namespace_pids_are_the_hosts():
    wrapper = ("unshare", "--pid", "--fork") if os.geteuid() == 0 else (
        "unshare", "--user", "--map-root-user", "--pid", "--fork")  # fmt: skip
    with zombies(3, wrapper=wrapper) as family:
        with open(f"/proc/{family.pids[0]}/status") as file:
            [ids] = [line.split()[1:] for line in file if line.startswith("NSpid:")]
        assert int(ids[0]) == family.pids[0]
        assert int(ids[-1]) == 2
