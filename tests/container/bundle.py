"""Containers as a kubelet's runtime would make them from a manifest, run by runc.

The OCI configuration is containerd's own (its masked paths, its default seccomp
profile for the capabilities asked for), changed where the manifest says so. Only
networking is left out: the container shares the host's.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
DEFAULT_CAPABILITIES = [
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
    *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
]
"""Those that containerd gives unless told otherwise."""

DOWNWARD = {
    "spec.nodeName": "check-node",
    "metadata.uid": "5e1f0000-1111-4222-8333-444455556666",
}
"""What the kubelet puts in place of a field of the pod."""

TOOLS = ("runc", "containerd", "ctr", "buildah", "kubectl")


def missing_tools() -> list[str]:
    """Return what has to be installed before any of this can run."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def run(*command: str, check: bool = True) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


@functools.cache
def rendered(folder: str) -> list[dict]:
    """Return the objects that kustomize makes of a folder of the repository."""
    return list(yaml.safe_load_all(run("kubectl", "kustomize", str(REPO / folder))))


def agent_pod(folder: str) -> dict:
    """Return the pod template's spec of the DaemonSet."""
    (daemonset,) = (each for each in rendered(folder) if each["kind"] == "DaemonSet")
    return daemonset["spec"]["template"]["spec"]


def example_pod(name: str) -> dict:
    """Return the spec of an example."""
    (pod,) = (
        each
        for each in rendered("deploy/examples")
        if each["kind"] == "Pod" and each["metadata"]["name"] == name
    )
    return pod["spec"]


def environment(folder: str, container: dict) -> list[str]:
    """Return the container's variables, those of its ConfigMaps included."""
    maps = {
        each["metadata"]["name"]: each["data"]
        for each in rendered(folder)
        if each["kind"] == "ConfigMap"
    }
    pairs = {}
    for source in container.get("envFrom", []):
        pairs |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        pairs[variable["name"]] = variable["value"] if field is None else DOWNWARD[field]
    return [f"{key}={value}" for key, value in pairs.items()]


@functools.cache
def containerd_spec(capabilities: tuple[str, ...]) -> str:
    """Return containerd's OCI configuration with its default seccomp profile, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        socket = f"{folder}/sock"
        config.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{socket}"\n'
        )
        rootfs = Path(folder) / "empty"
        rootfs.mkdir()
        drops = [word for cap in DEFAULT_CAPABILITIES for word in ("--cap-drop", f"CAP_{cap}")]
        adds = [word for cap in capabilities for word in ("--cap-add", f"CAP_{cap}")]
        ctr = ("ctr", "--address", socket)
        with subprocess.Popen(
            ["containerd", "--config", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as daemon:
            try:
                deadline = time.monotonic() + 20
                while not run(*ctr, "version", check=False).count("Version") >= 2:
                    assert time.monotonic() < deadline, "containerd does not answer"
                run(
                    *ctr, "container", "create", "--seccomp", "--net-host", "--rootfs",
                    *drops, *adds, str(rootfs), "probe", "program",
                )  # fmt: skip
                spec = json.loads(run(*ctr, "container", "info", "probe"))["Spec"]
            finally:
                daemon.terminate()
    return json.dumps(spec)


def oci_config(folder: str, pod: dict, container: dict, *, host_paths: dict[str, str]) -> dict:
    """Return the OCI configuration of a container of that pod.

    Args:
        folder: which kustomization, for its ConfigMaps.
        pod: its spec in the manifest.
        container: one of its containers there.
        host_paths: what to mount in place of a hostPath, by its path.
    """
    security = pod.get("securityContext", {}) | container.get("securityContext", {})
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    capabilities = tuple(security["capabilities"].get("add", []))
    spec = json.loads(containerd_spec(capabilities))
    process = spec["process"]
    process["user"] = {"uid": security["runAsUser"], "gid": security.get("runAsGroup", 0)}
    process["noNewPrivileges"] = not security["allowPrivilegeEscalation"]
    wanted = [f"CAP_{name}" for name in capabilities]
    for kind in ("bounding", "effective", "permitted"):
        assert sorted(process["capabilities"].get(kind, [])) == sorted(wanted)
        if security["runAsUser"] and kind != "bounding":
            process["capabilities"][kind] = []
    image = json.loads(run("buildah", "inspect", "--type", "image", image_name(container)))
    settings = image["OCIv1"]["config"]
    process["args"] = container.get("command", settings["Entrypoint"]) + container.get("args", [])
    process["env"] = settings["Env"] + environment(folder, container)
    process["cwd"] = "/"
    process.pop("rlimits", None)
    spec["linux"].setdefault("resources", {}).update(limits(container))
    spec["root"]["readonly"] = security["readOnlyRootFilesystem"]
    # CRI gives a container neither of these two.
    spec["mounts"] = [
        each for each in spec["mounts"] if each["destination"] not in ("/run", "/etc/hosts")
    ]
    spec["mounts"] += mounts(pod, container, host_paths)
    kinds = {"mount", "ipc", "uts"} | (set() if pod.get("hostPID") else {"pid"})
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        kinds.add("cgroup")
    spec["linux"]["namespaces"] = [{"type": kind} for kind in sorted(kinds)]
    return spec


def limits(container: dict) -> dict:
    """Return the OCI limits of a container's resources, as the kubelet sets them."""
    found = container.get("resources", {}).get("limits", {})
    result = {}
    if "cpu" in found:
        milli = int(found["cpu"].removesuffix("m"))
        result["cpu"] = {"period": 100_000, "quota": milli * 100}
    if "memory" in found:
        result["memory"] = {"limit": int(found["memory"].removesuffix("Mi")) << 20}
    return result


def mounts(pod: dict, container: dict, host_paths: dict[str, str]) -> list[dict]:
    """Return the OCI mounts of the container's volumes that are folders of the host."""
    volumes = {each["name"]: each for each in pod.get("volumes", [])}
    result = []
    for mount in container.get("volumeMounts", []):
        path = volumes[mount["name"]]["hostPath"]["path"]
        source = host_paths.get(path, path)
        if volumes[mount["name"]]["hostPath"]["type"] == "DirectoryOrCreate":
            Path(source).mkdir(parents=True, exist_ok=True)
        mode = "ro" if mount.get("readOnly") else "rw"
        result.append(
            {
                "destination": mount["mountPath"],
                "type": "bind",
                "source": source,
                "options": ["rbind", "rprivate", mode],
            }
        )
    return result


def image_name(container: dict) -> str:
    """Return the name in the local store of a manifest's image."""
    return f"docker.io/library/{container['image']}"


class Container:
    """A started container; what it prints goes to two files."""

    def __init__(self, name: str, process: subprocess.Popen, out: Path, err: Path) -> None:
        self.name = name
        self.process = process
        self._out = out
        self._err = err

    def out(self) -> str:
        """Return what it has written to stdout."""
        return self._out.read_text()

    def err(self) -> str:
        """Return what it has written to stderr."""
        return self._err.read_text()

    def lines(self) -> list[dict]:
        """Return its whole lines of JSON."""
        text = self.out()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def kill(self, signal_name: str) -> None:
        """Send its first process a signal."""
        run("runc", "kill", self.name, signal_name)

    def pid(self) -> int:
        """Return its first process's pid on the host."""
        return json.loads(run("runc", "state", self.name))["pid"]

    def running(self) -> bool:
        """Return whether its program has been started."""
        done = subprocess.run(["runc", "state", self.name], capture_output=True, check=False)
        return not done.returncode and json.loads(done.stdout)["status"] == "running"

    def exec(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in it, as `kubectl exec` does."""
        return subprocess.run(
            ["runc", "exec", self.name, *command], capture_output=True, text=True, check=False
        )

    def wait(self, seconds: float = 20) -> int:
        """Wait for its end and return its exit status."""
        return self.process.wait(seconds)


@contextlib.contextmanager
def rootfs(image: str) -> Iterator[str]:
    """Yield a writable tree of the image: runc makes mount points in it."""
    made = run("buildah", "from", "--pull-never", image).strip()
    try:
        yield run("buildah", "mount", made).strip()
    finally:
        run("buildah", "rm", made)


@contextlib.contextmanager
def started(config: dict, tree: str, folder: Path, name: str) -> Iterator[Container]:
    """Run a container until the block ends."""
    name = f"zt-{os.getpid()}-{name}"
    bundle = folder / name
    bundle.mkdir()
    config = config | {"root": config["root"] | {"path": tree}}
    config["linux"] = config["linux"] | {"cgroupsPath": f"/{name}"}
    (bundle / "config.json").write_text(json.dumps(config))
    out, err = bundle / "out", bundle / "err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            ["runc", "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
        )
    try:
        yield Container(name, process, out, err)
    finally:
        subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)
        process.wait(20)
