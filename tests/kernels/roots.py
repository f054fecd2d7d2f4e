"""What the guests boot into: this machine's own Debian packages, nothing else.

The small root is an initramfs (python3, libbpf, busybox); the large one adds bcc
with its LLVM and is an ext4 image. Both are kept until a package changes.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from releases import HarnessError

SMALL = ("python3", "libbpf1", "busybox-static")
LARGE = (*SMALL, "python3-bpfcc")
HERE = Path(__file__).parent

_MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr on every Debian since 12."""
_MOUNT_POINTS = ("proc", "sys", "dev", "run", "tmp", "root", "payload")
_DROPPED = tuple(f"/usr/share/{name}" for name in ("doc", "man", "info", "locale", "lintian"))


def initramfs(cache: Path) -> Path:
    """Return the small root as an uncompressed cpio, to which others can be appended."""
    target = cache / "roots" / f"small-{_key(SMALL)}.cpio"
    if not target.exists():
        with _stage(cache, SMALL) as (tree, partial):
            pack_cpio(Path(tree), partial)
            _keep(partial, target, "small-*.cpio")
    return target


def disk(cache: Path) -> Path:
    """Return the large root as an ext4 image."""
    target = cache / "roots" / f"large-{_key(LARGE)}.ext4"
    if not target.exists():
        with _stage(cache, LARGE) as (tree, partial):
            used = int(_output(["du", "-sm", tree]).split()[0])
            make = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree]
            _output([*make, partial, f"{used + used // 8 + 16}M"])
            _keep(partial, target, "large-*.ext4")
    return target


def make_base(tree: Path) -> None:
    """Lay out what every root has: folders, links into /usr, busybox's shell and our init."""
    for folder in ("etc", *_MOUNT_POINTS):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    for name in _MERGED:
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for applet in ("sh", "mount", "tar"):
        (tree / "usr/bin" / applet).symlink_to("busybox")
    shutil.copy(HERE / "init.sh", tree / "init")
    (tree / "init").chmod(0o755)
    (tree / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
    )


def pack_cpio(tree: Path, target: Path) -> None:
    """Pack a folder in the format of an initramfs; parents come before what is in them."""
    names = b"\0".join(os.fsencode(name) for name in _walk(tree))
    with target.open("wb") as out:
        subprocess.run(
            ["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"],
            cwd=tree,
            input=names,
            stdout=out,
            check=True,
        )


def _walk(tree: Path) -> Iterator[str]:
    for path in sorted(tree.rglob("*")):
        yield str(path.relative_to(tree))


class _stage:
    """A folder with the files of some packages and a place for the image; removed afterwards."""

    def __init__(self, cache: Path, packages: Sequence[str]) -> None:
        (cache / "roots").mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(dir=cache, prefix="root-")
        self._packages = packages

    def __enter__(self) -> tuple[str, Path]:
        home = Path(self._scratch.name)
        tree = home / "tree"
        make_base(tree)
        _copy(_files(self._packages), tree)
        return str(tree), home / "image"

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()


def _copy(files: Sequence[str], tree: Path) -> None:
    listing = b"\0".join(os.fsencode(name.lstrip("/")) for name in files)
    read = subprocess.Popen(
        ["tar", "-C", "/", "--null", "--no-recursion", "-T", "-", "-cf", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    write = subprocess.Popen(["tar", "-C", tree, "-xf", "-"], stdin=read.stdout)
    read.stdin.write(listing)
    read.stdin.close()
    read.stdout.close()
    if write.wait() or read.wait():
        raise HarnessError("copying the files of the packages failed; is a package half installed?")


def _files(packages: Sequence[str]) -> list[str]:
    """Return the files of packages and of all that they depend on, as really placed."""
    found = set()
    for path in _output(["dpkg", "-L", *_closure(packages)]).splitlines():
        if path.startswith("/") and not path.startswith(_DROPPED) and path != "/.":
            folder, name = os.path.split(path)
            real = os.path.join(os.path.realpath(folder), name)
            if os.path.islink(real) or os.path.isfile(real):
                found.add(real)
    return sorted(found)


def _closure(packages: Sequence[str]) -> list[str]:
    without = [
        f"--no-{kind}"
        for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    ]
    lines = _output(
        ["apt-cache", "depends", "--recurse", "--installed", *without, *packages]
    ).splitlines()
    names = sorted({line.strip() for line in lines if line and not line.startswith((" ", "<"))})
    missing = set(packages) - set(_installed(names))
    if missing:
        raise HarnessError(
            f"not installed here: {', '.join(sorted(missing))}; apt-get install them"
        )
    return sorted(_installed(names))


def _installed(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those that are installed (dpkg-query fails when some are not)."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if row[2:] == ["installed"]}


def _key(packages: Sequence[str]) -> str:
    """Return what changes when the root would: the packages' versions and how it is made."""
    versions = _installed(_closure(packages))
    digest = hashlib.sha256(repr(sorted(versions.items())).encode())
    for source in ("init.sh", "roots.py"):
        digest.update((HERE / source).read_bytes())
    return digest.hexdigest()[:12]


def _keep(partial: Path, target: Path, older: str) -> None:
    for old in target.parent.glob(older):
        old.unlink()
    partial.rename(target)


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
