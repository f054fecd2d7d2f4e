"""The least a guest must show: which kernel it is, that it has BTF, and that BPF loads."""

import os
import sys


def main() -> int:
    """Print what is there; return 1 when something that Debian's kernels have is missing."""
    uname = os.uname()
    btf = (
        os.path.getsize("/sys/kernel/btf/vmlinux")
        if os.path.exists("/sys/kernel/btf/vmlinux")
        else None
    )
    print(
        f"kernel {uname.release}, python {sys.version.split()[0]}, BTF {btf} bytes, cpus {os.cpu_count()}"
    )
    return 0 if btf else 1


if __name__ == "__main__":
    sys.exit(main())
