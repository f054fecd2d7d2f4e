"""Debian's cloud kernels: find today's of each release and keep only its vmlinuz.

apt does the work with a sources list, package lists and a cache of its own, so
that the machine's apt never learns of a foreign release. Where to fetch from is
read from the machine's own configuration: no host is named here.
"""

import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

METAPACKAGE = "linux-image-cloud-amd64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class HarnessError(Exception):
    """The harness itself cannot go on; one line, with the remedy."""


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release that has a kernel worth testing.

    Attributes:
        label: how --kernel names it.
        suite: where apt finds its newest kernel.
    """

    label: str
    suite: str


RELEASES = (
    Release("5.10", "bullseye-security"),
    Release("6.1", "bookworm-security"),
    Release("6.12", "trixie-security"),
    Release("sid", "sid"),
)
"""Oldest first. The layouts of several sched tracepoints changed in 6.16, and task
storage came in 5.11: both lines are crossed."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be booted."""

    label: str
    version: str
    vmlinuz: Path


def kernel(release: Release, cache: Path, *, refresh: bool = False) -> Kernel:
    """Return that release's kernel, from the cache unless `refresh` or it is not there."""
    folder = cache / "vmlinuz" / release.label
    if not refresh:
        for kept in sorted(folder.glob("*/vmlinuz")):
            return Kernel(release.label, kept.parent.name, kept)
    with tempfile.TemporaryDirectory(dir=cache, prefix="apt-") as scratch:
        apt = _Apt(Path(scratch), release)
        version = apt.newest()
        target = folder / version / "vmlinuz"
        if not target.exists():
            _extract(apt.download(version), target)
    for other in folder.glob("*/vmlinuz"):
        if other != target:
            other.unlink()
            other.parent.rmdir()
    return Kernel(release.label, version, target)


class _Apt:
    """apt with everything of its own, below `home`."""

    def __init__(self, home: Path, release: Release) -> None:
        self._home = home
        self._release = release
        for folder in ("lists/partial", "cache/archives/partial"):
            (home / folder).mkdir(parents=True)
        (home / "status").touch()
        (home / "sources.list").write_text(
            f"deb [signed-by={KEYRING}] {_archive(release.suite)} {release.suite} main\n"
        )
        options = {
            "Dir::Etc::SourceList": home / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::State": home,
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        self._options = [f"-o{name}={value}" for name, value in options.items()]
        self._run("apt-get", "update")

    def newest(self) -> str:
        """Return the version that the metapackage stands for, as `uname -r` will print it."""
        text = self._run("apt-cache", "depends", METAPACKAGE)
        found = re.search(r"Depends: linux-image-(\d\S*)", text)
        if found is None:
            raise HarnessError(f"{METAPACKAGE} of {self._release.suite} names no kernel: {text!r}")
        return found[1]

    def download(self, version: str) -> Path:
        """Download the package that holds the kernel itself and return where it is."""
        # Since 7.x the image package is only a shell around linux-binary.
        names = self._run("apt-cache", "pkgnames", f"linux-binary-{version}").split()
        name = names[0] if names else f"linux-image-{version}"
        self._run("apt-get", "download", name)
        return next(self._home.glob("*.deb"))

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [program, *self._options, "-q", *arguments],
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise HarnessError(
                f"{program} {' '.join(arguments)} for {self._release.suite} failed: "
                f"{said[-1] if said else done.returncode}; can this machine's apt reach its archive?"
            )
        return done.stdout


def _archive(suite: str) -> str:
    """Return the archive that this machine's apt uses for suites of that kind."""
    lines = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    security = suite.endswith("-security")
    for line in lines:
        uri, release, component = line.split()
        if component == "main" and release.endswith("-security") == security:
            return uri
    kind = "security" if security else "main"
    raise HarnessError(
        f"apt on this machine knows no {kind} archive of Debian; add one to its sources"
    )


def _extract(package: Path, target: Path) -> None:
    """Take the kernel image out of a .deb."""
    unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    try:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
            for member in archive:
                if re.search(r"/(boot/vmlinuz-[^/]+|vmlinuz)$", member.name) and member.isfile():
                    data = archive.extractfile(member).read()
                    target.parent.mkdir(parents=True, exist_ok=True)
                    partial = target.with_suffix(".partial")
                    partial.write_bytes(data)
                    partial.rename(target)
                    return
    finally:
        unpack.kill()
        unpack.wait()
    raise HarnessError(f"{package.name} holds no kernel image")
