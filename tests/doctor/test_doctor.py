"""`tracer doctor` run on this machine, as different users and in namespaces."""

import json
import os
import shutil
import subprocess

import pytest
from support.anybody import published
from support.kernel import require

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        os.geteuid() != 0 and os.environ.get("TRACER_REQUIRE_KERNEL") != "1",
        reason="needs root, to become somebody else",
    ),
]


@pytest.fixture(scope="module")
def program():
    return published()


def with_only(*capabilities):
    """Return what runs a command as user nobody with these capabilities."""
    wanted = ",".join(f"+{name}" for name in capabilities)
    return [*NOBODY, "--inh-caps", wanted, "--ambient-caps", wanted] if wanted else NOBODY


def run(program, *prefix, options=("--no-kubernetes",)):
    return subprocess.run(
        [*prefix, "/usr/bin/python3", "-m", "tracer", "doctor", *options],
        env={**os.environ, "PYTHONPATH": program},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def doctor(program, *prefix, options=("--no-kubernetes",)):
    """Run it, and return its exit status, its checks by name and the source."""
    done = run(program, *prefix, options=("-o", "json", *options))
    assert not done.stderr, done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {check["name"]: check for check in found["checks"]}, found["source"]


def test_root_on_the_host_sees_everything(program):
    status, checks, source = doctor(program)
    assert status == 0, checks
    assert source["name"] == "core"
    for name in ("kernel", "btf", "bpf", "capabilities", "pid_namespace", "proc", "inspection"):
        assert checks[name]["status"] == "ok", checks[name]


def test_three_capabilities_are_as_good_as_root(program):
    status, checks, source = doctor(program, *with_only("bpf", "perfmon", "sys_ptrace"))
    assert status == 0, checks
    assert source["name"] == "core"
    for name in ("bpf", "capabilities", "inspection"):
        assert checks[name]["status"] == "ok", checks[name]


def test_without_capabilities_it_fails_and_says_which(program):
    status, checks, source = doctor(program, *with_only())
    assert status == 1
    assert source["name"] == "proc"
    assert checks["bpf"]["status"] == "failed"
    assert checks["inspection"]["status"] == "warning"
    for name in ("CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"):
        assert name in checks["capabilities"]["remedy"]
        assert name in checks[name.lower()]["remedy"]


@pytest.mark.parametrize("kept", ["bpf", "perfmon"])
def test_half_of_the_rights_to_bpf_do_not_pass(program, kept):
    """The check of the capabilities agrees with what the kernel did."""
    status, checks, _ = doctor(program, *with_only(kept))
    assert status == 1
    assert checks["bpf"]["status"] == checks["capabilities"]["status"] == "failed"


def test_without_ptrace_it_works_and_warns(program):
    status, checks, source = doctor(program, *with_only("bpf", "perfmon"))
    assert status == 0
    assert source["name"] == "core"
    assert checks["capabilities"]["status"] == checks["inspection"]["status"] == "warning"


def test_a_pid_namespace_of_its_own_is_reported(program):
    status, checks, _ = doctor(program, "unshare", "--pid", "--fork", "--mount-proc")
    assert status == 1
    assert checks["pid_namespace"]["status"] == "failed"
    assert "hostPID" in checks["pid_namespace"]["remedy"]


def test_a_user_namespace_of_its_own_is_reported(program):
    own = ("unshare", "--user", "--map-root-user")
    allowed = subprocess.run([*own, "true"], capture_output=True, text=True, check=False)
    require(allowed.returncode == 0, f"no user namespace can be made: {allowed.stderr.strip()}")
    status, checks, _ = doctor(program, *own)
    assert status == 1
    assert checks["capabilities"]["status"] == "failed"
    assert "user namespace" in checks["capabilities"]["result"]


def test_a_hidden_proc_is_reported(program):
    hide = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", hide, "sh", *with_only()]
    status, checks, _ = doctor(program, *prefix)
    assert status == 1
    assert checks["proc"]["status"] == "failed"
    assert "hidepid" in checks["proc"]["result"]


@pytest.mark.parametrize("root", ["/etc", "/nowhere"])
def test_a_proc_root_that_is_none_is_reported(program, root):
    status, checks, _ = doctor(program, options=("--no-kubernetes", "--proc-root", root))
    assert status == 1
    assert root in checks["proc"]["result"]
    assert "--proc-root" in checks["proc"]["remedy"]


def test_a_state_folder_that_cannot_be_written_is_a_warning(program):
    """A container's root is read-only where no volume is mounted."""
    script = 'mount -t tmpfs -o ro none /mnt && exec "$@"'
    options = ("--no-kubernetes", "--state-dir", "/mnt/zombie-tracer")
    prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
    status, checks, _ = doctor(program, *prefix, options=options)
    assert status == 0
    assert checks["state_dir"]["status"] == "warning"
    assert "read-only file system" in checks["state_dir"]["result"]
    assert "readOnly" in checks["state_dir"]["remedy"]


REFUSES_BPF = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
# LD nr; JEQ bpf ? next : +1; RET ERRNO(EPERM); RET ALLOW
code = [(0x20, 0, 0, 0), (0x15, 0, 1, NUMBER), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_seccomp_filter_that_refuses_bpf_is_named(program):
    """As old runtimes' default profiles do for a container with CAP_BPF."""
    number = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
    require(number is not None, "the number of bpf() on this machine is not known here")
    code = REFUSES_BPF.replace("NUMBER", str(number))
    status, checks, _ = doctor(program, "python3", "-c", code)
    assert status == 1
    assert checks["capabilities"]["status"] == "ok"
    assert checks["seccomp"]["status"] == "failed", checks["bpf"]
    assert "overlays/privileged" in checks["seccomp"]["remedy"]


def test_the_text_has_every_check(program):
    text = run(program).stdout
    _, checks, source = doctor(program)
    assert all(f" {name} " in text for name in checks)
    assert f"would use: {source['name']}" in text
    assert "FAILED" not in text


def test_an_object_that_is_garbage_falls_back_and_is_reported(program, tmp_path):
    """The checks go on when the BPF object is broken."""
    broken = tmp_path / "broken"
    shutil.copytree(program, broken)
    (broken / "tracer/_objects/tracer.bpf.o").write_bytes(b"\x7fELF nonsense")
    status, checks, source = doctor(str(broken))
    assert source["name"] != "core"
    assert "object" in checks["bpf"]["result"]
    assert (status == 1) == (source["name"] == "proc")
