"""deploy/install-packages waits for a busy package manager, with real apt and real locks."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install-packages"
NAME = "zombie-tracer-lock-test"
HELD_SECONDS = 3.0

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("apt-get") is None,
    reason="needs root, and apt-get from Debian or Ubuntu",
)


@pytest.fixture
def apt(tmp_path):
    """Make a package archive and an apt state of this test's own; yield both folders.

    apt only downloads the package: nothing is installed on this machine.
    """
    archive, state = tmp_path / "archive", tmp_path / "state"
    control = tmp_path / "package" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    fields = (
        f"Package: {NAME}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.com>\nDescription: a package for a test\n"
    )
    control.write_text(fields)
    archive.mkdir()
    deb = archive / "package.deb"
    subprocess.run(
        ["dpkg-deb", "--build", control.parents[1], deb], check=True, capture_output=True
    )
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    (archive / "Packages").write_text(
        f"{fields}Filename: ./package.deb\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n"
    )
    for folder in ("lists/partial", "archives/partial", "dpkg", "parts"):
        (state / folder).mkdir(parents=True)
    (state / "dpkg" / "status").touch()
    (state / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    (state / "apt.conf").write_text(
        f'Dir::State "{state}";\nDir::State::lists "{state}/lists";\n'
        f'Dir::State::status "{state}/dpkg/status";\nDir::Cache "{state}";\n'
        f'Dir::Cache::archives "{state}/archives";\nDir::Etc::sourcelist "{state}/sources.list";\n'
        f'Dir::Etc::sourceparts "{state}/parts";\n'
        'APT::Get::Download-Only "true";\nAPT::Sandbox::User "root";\n'
        "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
    )
    return state


@contextlib.contextmanager
def held(path):
    """Hold a lock as apt and dpkg do, with fcntl()."""
    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def start(state, patience):
    return subprocess.Popen(
        [SCRIPT, NAME],
        env={**os.environ, "APT_CONFIG": str(state / "apt.conf"), "APT_LOCK_SECONDS": patience},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("lock", ["dpkg/lock-frontend", "lists/lock", "archives/lock"])
def test_it_waits_until_the_lock_is_free(apt, lock):
    """Whichever lock another package manager holds, the script goes on when it is free."""
    with held(apt / lock):
        begun = time.monotonic()
        running = start(apt, "60")
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(HELD_SECONDS)
        assert running.poll() is None, f"it did not wait: {running.communicate()}"
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert time.monotonic() - begun >= HELD_SECONDS


@pytest.mark.parametrize("lock", ["dpkg/lock-frontend", "lists/lock"])
def test_it_gives_up_after_its_patience_and_names_the_lock(apt, lock):
    with held(apt / lock):
        running = start(apt, "1")
        _, said = running.communicate(timeout=30)
    assert running.returncode == 1
    assert f"{apt / lock}" in said
    assert said.rstrip().endswith("the reason is above")
