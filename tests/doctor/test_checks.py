"""Each check's result from facts, without a machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.doctor import bpf_checks, capabilities, node_checks, probe, proc_checks
from tracer.doctor.check import Check, Report, Status
from tracer.doctor.own_cgroup import memory_limit
from tracer.doctor.probe import Attempt

UID = "12345678-1234-1234-1234-123456789abc"
ALL = sum(1 << each.bit for each in capabilities.NEEDED)


def test_every_needed_capability_is_missed_by_name():
    for missing in capabilities.NEEDED:
        check = capabilities.check(ALL & ~(1 << missing.bit), None, 65534)
        assert check.status is not Status.OK
        assert missing.name in check.remedy
        assert all(each.name not in check.remedy for each in capabilities.NEEDED if each != missing)


def test_only_the_loss_of_bpf_fails_doctor():
    """Without ptrace rights the agent works and says less."""
    without_ptrace = ALL & ~(1 << capabilities.SYS_PTRACE.bit)
    assert capabilities.check(without_ptrace, None, 0).status is Status.WARNING
    check = capabilities.check(1 << capabilities.SYS_PTRACE.bit, None, 0)
    assert (check.status, check.matters) == (Status.FAILED, True)


def test_sys_admin_includes_what_was_split_from_it():
    mask = 1 << capabilities.SYS_ADMIN.bit | 1 << capabilities.SYS_PTRACE.bit
    assert capabilities.check(mask, capabilities.INITIAL_USER_NAMESPACE, 0).status is Status.OK


def test_capabilities_in_a_user_namespace_count_for_nothing():
    check = capabilities.check(ALL, "user:[4026532000]", 0)
    assert (check.status, check.matters) == (Status.FAILED, True)
    assert "hostUsers" in check.remedy


@given(st.integers(0, 2**64 - 1))
def test_the_effective_set_is_read_back(mask):
    status = b"Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t%016x\nCapBnd:\t0\n" % mask
    assert capabilities.parse_effective(status) == mask


def test_a_status_without_capabilities_has_no_effective_set():
    assert capabilities.parse_effective(b"Name:\tCapEff\n") is None


@pytest.mark.parametrize(
    ("link", "kernel_threads", "status"),
    [
        (proc_checks.INITIAL_PID_NAMESPACE, True, Status.OK),
        (None, True, Status.OK),
        ("pid:[4026532178]", False, Status.FAILED),
        ("pid:[4026532178]", True, Status.FAILED),
        (proc_checks.INITIAL_PID_NAMESPACE, False, Status.FAILED),
        (None, False, Status.FAILED),
    ],
)
def test_pid_namespace(link, kernel_threads, status):
    check = proc_checks.pid_namespace(link, sees_kernel_threads=kernel_threads)
    assert check.status is status
    assert (check.remedy is not None) == (status is Status.FAILED)


@pytest.mark.parametrize(
    ("release", "lockdown", "status"),
    [
        ("5.10.0-46-cloud-amd64", None, Status.OK),
        ("7.2.13+deb14-cloud-amd64", "integrity", Status.OK),
        ("5.4.0", None, Status.WARNING),
        ("4.19.0-28-amd64", None, Status.WARNING),
        ("6.1.0", "confidentiality", Status.FAILED),
        ("strange", None, Status.OK),
    ],
)
def test_kernel(release, lockdown, status):
    assert bpf_checks.kernel(release, "x86_64", lockdown).status is status


def test_the_mode_of_lockdown_is_the_one_in_brackets():
    assert bpf_checks.parse_lockdown("none [integrity] confidentiality\n") == "integrity"
    assert bpf_checks.parse_lockdown("") is None


@pytest.mark.parametrize(
    ("path", "driver"),
    [
        ("0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-a.scope", "systemd"),
        (f"0::/../../kubepods-burstable-pod{UID}.slice/cri-containerd-a.scope", "systemd"),
        ("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/x", "systemd"),
        (f"0::/kubepods/burstable/pod{UID}/abc", "cgroupfs"),
        (f"0::/../../pod{UID}/abc", "cgroupfs"),
        (f"9:pids:/kubepods/pod{UID}/abc\n0::/", "cgroupfs"),
        ("0::/system.slice/ssh.service", None),
        ("0::/user.slice/kubepods", None),
        ("", None),
    ],
)
def test_the_kubelets_driver_is_known_by_its_names(path, driver):
    assert node_checks.cgroup_driver(path.encode()) == driver


@pytest.mark.parametrize(
    ("raw", "version"),
    [
        (b"0::/init.scope\n", "v2"),
        (b"2:cpu:/\n1:name=systemd:/\n", "v1"),
        (b"2:cpu:/\n0::/\n", "hybrid"),
        (b"", None),
        (None, None),
    ],
)
def test_cgroup_version(raw, version):
    assert node_checks.cgroup_version(raw) == version


def test_v1_costs_only_sources_that_read_cgroups_of_zombies():
    assert node_checks.cgroups("v1", {"systemd"}, core_works=True).status is Status.OK
    assert node_checks.cgroups("v1", {"systemd"}, core_works=False).status is Status.WARNING


def test_hidepid_is_that_of_the_topmost_mount_at_the_root():
    lines = (
        b"23 28 0:22 / /proc rw,relatime - proc proc rw\n"
        b"90 28 0:50 / /host/proc rw - proc proc rw,hidepid=invisible\n"
    )
    assert proc_checks.parse_hidepid(lines, "/proc") is None
    assert proc_checks.parse_hidepid(lines, "/host/proc") == "invisible"
    over = lines + b"91 28 0:51 / /proc rw - proc proc rw,hidepid=2\n"
    assert proc_checks.parse_hidepid(over, "/proc") == "2"


@given(st.integers(0, 10**7))
def test_tasks_are_counted_from_loadavg(count):
    assert node_checks.parse_tasks(b"0.77 0.86 0.61 1/%d 17220\n" % count) == count


def test_the_smaller_limit_counts():
    assert node_checks.limits(32768, 192729, 30000).status is Status.WARNING
    assert node_checks.limits(4194304, 1000, 900).status is Status.WARNING
    assert node_checks.limits(32768, 192729, 100).status is Status.OK
    assert node_checks.limits(None, None, 100).status is Status.SKIPPED


def test_the_memlock_limit_counts_only_where_bpf_was_refused():
    def status(limit, *, may_raise=False, core_refused=True, release="5.10.0"):
        return bpf_checks.memlock(
            limit, release, may_raise=may_raise, core_refused=core_refused
        ).status

    assert status(65536) is Status.WARNING
    assert status(65536, may_raise=True) is Status.OK
    assert status(65536, core_refused=False) is Status.OK
    assert status(None) is Status.OK
    assert status(65536, release="6.1.0-32-amd64") is Status.OK


def test_a_time_namespace_would_make_ages_wrong():
    assert proc_checks.clock("time:[4026532000]", 1.8e9).matters
    assert proc_checks.clock(proc_checks.INITIAL_TIME_NAMESPACE, 1.8e9).status is Status.OK
    assert proc_checks.clock(None, 0.0).status is Status.WARNING


def test_one_protected_process_is_not_a_missing_right():
    assert proc_checks.inspection(50, 1).status is Status.OK
    assert proc_checks.inspection(50, 50).status is Status.WARNING
    assert proc_checks.inspection(0, 0).status is Status.SKIPPED


def test_what_only_bcc_needs_is_skipped_while_core_works():
    for core_works, status in ((True, Status.SKIPPED), (False, Status.WARNING)):
        assert bpf_checks.tracefs(None, core_works=core_works).status is status
        assert bpf_checks.bcc(None, "No module", core_works=core_works).status is status


CORE = Attempt("core", None, "starts")
NO_CORE = Attempt("core", "core cannot work here: this kernel has no BTF")


@pytest.mark.parametrize(
    ("attempts", "name", "status"),
    [
        ([CORE], "core", Status.OK),
        ([NO_CORE, Attempt("bcc", None, "starts")], "bcc", Status.WARNING),
        ([NO_CORE, Attempt("bcc", "no"), Attempt("proc", None, "starts")], "proc", Status.FAILED),
        ([NO_CORE, Attempt("bcc", "no"), Attempt("proc", "no")], None, Status.FAILED),
    ],
)
def test_the_first_source_that_works_is_chosen_and_checked(attempts, name, status):
    assert probe.choose(attempts).name == name
    check = probe.check(attempts)
    assert check.status is status
    assert (check.remedy is None) == (status is Status.OK)


def test_only_required_checks_fail_the_report():
    def report(*checks):
        return Report(checks, probe.choose([CORE]))

    fine = Check("a", Status.OK, "x", matters=True)
    optional = Check("b", Status.FAILED, "x", "y")
    required = Check("c", Status.FAILED, "x", "y", matters=True)
    assert not report(fine, optional).failed
    assert report(fine, required).failed


def test_each_capability_has_a_line_and_only_those_of_bpf_fail_doctor():
    for missing in capabilities.NEEDED:
        checks = capabilities.check_each(ALL & ~(1 << missing.bit))
        assert [each.name for each in checks] == ["cap_bpf", "cap_perfmon", "cap_sys_ptrace"]
        (bad,) = (each for each in checks if each.status is not Status.OK)
        assert bad.name == missing.name.lower()
        assert missing.name in bad.remedy
        assert missing.loss in bad.result
        assert bad.matters == (missing is not capabilities.SYS_PTRACE)


def test_a_seccomp_filter_is_blamed_only_for_what_capabilities_do_not_explain():
    def status(*, filtered=True, effective=ALL, core_refused=True):
        return capabilities.seccomp(
            filtered=filtered, effective=effective, core_refused=core_refused
        ).status

    assert status() is Status.FAILED
    assert status(filtered=False) is Status.OK
    assert status(core_refused=False) is Status.OK
    assert status(effective=0) is Status.OK
    assert capabilities.parse_seccomp(b"Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n")
    assert not capabilities.parse_seccomp(b"Seccomp:\t0\n")


@pytest.mark.parametrize(
    ("limit_mb", "source", "status"),
    [
        (None, "core", Status.OK),
        (300, "core", Status.OK),
        (299, "core", Status.WARNING),
        (64, "core", Status.WARNING),
        (63, "core", Status.FAILED),
        (100, "bcc", Status.FAILED),
        (100, None, Status.OK),
    ],
)
def test_the_memory_limit_is_compared_with_the_needs_of_the_source(limit_mb, source, status):
    check = node_checks.memory(None if limit_mb is None else limit_mb << 20, source)
    assert check.status is status
    assert (check.remedy is None) == (status is Status.OK)


@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
@pytest.mark.parametrize("own_namespace", [False, True])
def test_the_smallest_limit_up_to_the_root_counts(tmp_path, name, own_namespace):
    """In a cgroup namespace of its own the path is /, and the host's folders are mounted."""
    version_1 = name == "memory.limit_in_bytes"
    root = tmp_path / "memory" if version_1 else tmp_path
    container = root / "kubepods/pod1/abc"
    container.mkdir(parents=True)
    for folder, limit in ((container, "max"), (container.parent, "12345")):
        (folder / name).write_text("9223372036854771712" if limit == "max" and version_1 else limit)
        (folder / "cgroup.procs").write_text("")
    (container / "cgroup.procs").write_text("17\n4711\n")
    path = "/" if own_namespace else "/kubepods/pod1/abc"
    own = f"5:cpu:/x\n4:memory:{path}\n" if version_1 else f"0::{path}\n"
    assert memory_limit(own.encode(), 4711, tmp_path) == 12345


def test_without_any_limit_there_is_none(tmp_path):
    assert memory_limit(b"0::/nowhere\n", 4711, tmp_path) is None
    assert memory_limit(b"", 4711, tmp_path) is None
