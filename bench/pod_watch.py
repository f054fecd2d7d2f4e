"""The cost of the pod watch: memory, time to the first full index, time to a name.

Run: python bench/pod_watch.py [PODS ...]      (default 250 1000)

Each figure comes from a process of its own, against the tests' API server on a real
socket, with pods of about ten kilobytes of JSON and two containers. Beside it stands
what a script would do: the client's own models of the same pods.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT))


def rss_mb():
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return tuple(round(int(fields[key].split()[0]) / 1024, 1) for key in ("VmRSS", "VmHWM"))


def ours(kubeconfig, pods):
    """The agent's other imports, then the watch until all pods are known."""
    import prometheus_client  # noqa: F401
    import structlog  # noqa: F401

    from tracer.attribution.attributor import Attributor
    from tracer.kubernetes.config import connect
    from tracer.kubernetes.index import PodIndex
    from tracer.kubernetes.watch import PodWatch
    from tracer.model import Container

    before, _ = rss_mb()
    index = PodIndex()
    Attributor(lambda _pid: None, index, None)
    watch = PodWatch(connect(kubeconfig).access, "worker-1", index)
    began = time.perf_counter()
    cpu = time.process_time()
    watch.start()
    while not watch.synced:
        time.sleep(0.001)
    listed = time.perf_counter() - began
    cpu = time.process_time() - cpu
    assert len(index) == pods, (len(index), watch.last_error)
    print(json.dumps({"ready": True}), flush=True)
    uid = sys.stdin.readline().strip()
    sent = float(sys.stdin.readline())
    wanted = Container(None, pod_uid=uid)
    while index.lookup(wanted) is None:
        time.sleep(0.0002)
    named = time.time() - sent
    rss, peak = rss_mb()
    began = time.perf_counter()
    for _ in range(20_000):
        index.lookup(wanted)
    lookup = (time.perf_counter() - began) / 20_000
    print(
        json.dumps(
            {
                "before": before,
                "rss": rss,
                "peak": peak,
                "listed": listed,
                "cpu": cpu,
                "named": named,
                "lookup": lookup,
            }
        )
    )


def theirs(kubeconfig, pods):
    """The whole client, and the list as its models."""
    began = time.perf_counter()
    from kubernetes import client, config

    config.load_kube_config(config_file=kubeconfig)
    found = client.CoreV1Api().list_pod_for_all_namespaces(field_selector="spec.nodeName=worker-1")
    listed = time.perf_counter() - began
    assert len(found.items) == pods
    rss, peak = rss_mb()
    print(json.dumps({"rss": rss, "peak": peak, "listed": listed}))


def measure(kind, kubeconfig, pods, api):
    from support.pods import pod

    process = subprocess.Popen(
        [sys.executable, __file__, kind, kubeconfig, str(pods)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if kind == "ours":
        process.stdout.readline()
        time.sleep(0.3)  # let the watch connect: its latency is asked for, not the reconnect's
        new = pod("late", containers=("app", "sidecar"))
        process.stdin.write(f"{new['metadata']['uid']}\n{time.time()}\n")
        process.stdin.flush()
        api.put(new)
    out, _ = process.communicate(timeout=60)
    return json.loads(out)


def main(counts):
    import tempfile

    from support.kube_api import KubeApi
    from support.pods import pod

    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            api = KubeApi()
            size = 0
            for number in range(count):
                made = pod(
                    f"web-{number:04}-7d4b9c-x2x9z",
                    containers=("app", "sidecar"),
                    init=("setup",),
                    owner=("ReplicaSet", f"web-{number:04}-7d4b9c"),
                    labels={"pod-template-hash": "7d4b9c"},
                )
                size += len(json.dumps(made))
                api.put(made)
            kubeconfig = api.kubeconfig(Path(folder) / f"config{count}")
            mine = measure("ours", kubeconfig, count, api)
            api.delete(pod("late", containers=("app", "sidecar")))
            script = measure("theirs", kubeconfig, count, api)
            api.close()
            print(
                f"{count:5} pods ({size / 1e6:.1f} MB of JSON)\n"
                f"   watch:  RSS {mine['rss']} MB (peak {mine['peak']}; {mine['before']} before it), "
                f"index full after {mine['listed']:.2f} s ({mine['cpu']:.2f} s CPU), "
                f"new pod's name after {mine['named'] * 1000:.1f} ms, "
                f"lookup {mine['lookup'] * 1e6:.1f} µs\n"
                f"   client's models: RSS {script['rss']} MB (peak {script['peak']}), {script['listed']:.2f} s"
            )


if __name__ == "__main__":
    if sys.argv[1:2] in (["ours"], ["theirs"]):
        {"ours": ours, "theirs": theirs}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    else:
        main([int(word) for word in sys.argv[1:]] or [250, 1000])
