"""The manifests as kustomize renders them: valid for Kubernetes, and no right too many."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from tracer import __version__
from tracer.model import CauseCode

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="the Kubernetes schemas come with the dev extra"
)

REPO = Path(__file__).parents[2]
RELEASES = ("1.30", "1.33", "1.36")
"""The oldest that knows appArmorProfile, and newer ones."""
FOLDERS = (
    "deploy",
    "deploy/overlays/bcc",
    "deploy/overlays/openshift",
    "deploy/overlays/privileged",
    "deploy/examples",
)
CAPABILITIES = {"BPF", "PERFMON", "SYS_PTRACE"}
NOT_IN_THE_SCHEMAS = {"SecurityContextConstraints"}


@functools.cache
def render(folder):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(REPO / folder)], capture_output=True, text=True, check=False
    )
    if "components" in done.stderr and "unknown field" in done.stderr:
        pytest.skip("this kubectl is older than 1.21: its kustomize knows no components")
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def objects(folder, kind):
    return [each for each in render(folder) if each["kind"] == kind]


def the(folder, kind):
    (found,) = objects(folder, kind)
    return found


def pod_spec(folder):
    return the(folder, "DaemonSet")["spec"]["template"]["spec"]


def container(folder):
    (found,) = pod_spec(folder)["containers"]
    return found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_valid_and_has_no_field_that_kubernetes_does_not_know(folder, release):
    checked = 0
    for each in render(folder):
        if each["kind"] in NOT_IN_THE_SCHEMAS:
            continue
        kubernetes_validate.validate(each, release, strict=True)
        checked += 1
    assert checked > 5


def test_the_validator_would_notice():
    spoilt = {**the("deploy", "DaemonSet"), "spec": {"selector": {}, "tempalte": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spoilt, "1.36", strict=True)


@pytest.mark.parametrize("folder", ["deploy", "deploy/overlays/bcc", "deploy/overlays/openshift"])
def test_the_agent_has_three_capabilities_and_no_way_to_get_more(folder):
    security = container(folder)["securityContext"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert set(security["capabilities"]["add"]) == CAPABILITIES
    assert security["privileged"] is False
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    # Added capabilities reach a non-root process only through file capabilities.
    assert security["runAsUser"] == 0
    pod = pod_spec(folder)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["hostPID"] is True
    assert not pod.get("hostNetwork")
    assert not pod.get("hostIPC")
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_only_the_state_folder_is_writable(folder):
    volumes = {each["name"]: each for each in pod_spec(folder)["volumes"]}
    writable = {
        each["mountPath"]
        for each in container(folder)["volumeMounts"]
        if not each.get("readOnly") and "hostPath" in volumes[each["name"]]
    }
    assert writable == {"/run/zombie-tracer"}
    assert {each["name"] for each in container(folder)["volumeMounts"]} == set(volumes)
    paths = {each["hostPath"]["path"] for each in volumes.values() if "hostPath" in each}
    expected = {"/run/zombie-tracer", "/sys/fs/cgroup", "/var/log/pods", "/var/log/containers"}
    assert paths - {"/sys/kernel/tracing"} == expected
    assert ("/sys/kernel/tracing" in paths) == (folder.endswith(("bcc", "privileged")))


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_rbac_lets_it_read_pods_and_nothing_else(folder):
    roles = {each["metadata"]["name"]: each["rules"] for each in objects(folder, "ClusterRole")}
    assert roles.pop("zombie-tracer") == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]
    if folder.endswith("openshift"):
        (rule,) = roles.pop("zombie-tracer-scc")
        assert rule["resourceNames"] == ["zombie-tracer"]
        assert rule["verbs"] == ["use"]
    assert roles == {}
    assert objects(folder, "Role") == []
    account = pod_spec(folder)["serviceAccountName"]
    for binding in objects(folder, "ClusterRoleBinding") + objects(folder, "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account, "namespace": "zombie-tracer"}
        ]


def test_openshift_is_asked_for_what_the_pod_uses():
    scc = the("deploy/overlays/openshift", "SecurityContextConstraints")
    assert set(scc["allowedCapabilities"]) == CAPABILITIES
    assert scc["allowPrivilegedContainer"] is False
    pod = pod_spec("deploy/overlays/openshift")
    kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
    # The service account's token is a projected volume that admission adds.
    assert kinds | {"projected"} <= set(scc["volumes"])
    annotations = the("deploy/overlays/openshift", "DaemonSet")["spec"]["template"]["metadata"]
    assert annotations["annotations"]["openshift.io/required-scc"] == scc["metadata"]["name"]


def test_privileged_is_what_it_says():
    assert container("deploy/overlays/privileged")["securityContext"]["privileged"] is True


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_it_runs_on_every_node_and_a_node_never_has_two(folder):
    pod = pod_spec(folder)
    assert pod["tolerations"] == [{"operator": "Exists"}]
    rolling = the(folder, "DaemonSet")["spec"]["updateStrategy"]["rollingUpdate"]
    assert rolling["maxSurge"] == 0
    assert pod["priorityClassName"] == the(folder, "PriorityClass")["metadata"]["name"]


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_probes_scrapes_and_the_service_find_the_port(folder):
    agent = container(folder)
    (port,) = agent["ports"]
    assert f"--metrics-address=:{port['containerPort']}" in agent["args"]
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert agent[probe]["httpGet"] == {"path": path, "port": port["name"]}
    template = the(folder, "DaemonSet")["spec"]["template"]["metadata"]
    assert template["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    service = the(folder, "Service")["spec"]
    assert service["ports"][0]["targetPort"] == port["name"]
    assert service["selector"].items() <= template["labels"].items()


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_no_probe_is_sent_before_the_agent_had_time_to_start(folder):
    """The other probes begin after the first success; a failure is a Warning event."""
    agent = container(folder)
    with_bcc = folder.endswith(("bcc", "privileged"))
    # Seconds until it is ready: 1 with core; with bcc LLVM needs some, under the CPU limit.
    assert agent["startupProbe"]["initialDelaySeconds"] == (20 if with_bcc else 5)
    assert "initialDelaySeconds" not in agent["livenessProbe"] | agent["readinessProbe"]


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_a_command_run_in_the_container_finds_the_agents_state_folder(folder):
    """`kubectl exec` has the container's environment, but not its arguments."""
    agent = container(folder)
    variables = {each["name"]: each for each in agent["env"]}
    mounts = {each["name"]: each["mountPath"] for each in agent["volumeMounts"]}
    assert variables["TRACER_STATE_DIR"]["value"] == mounts["state"]
    assert not any("state-dir" in argument for argument in agent["args"])
    uid = variables["POD_UID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert uid == "metadata.uid"


@functools.cache
def with_network_policy():
    (REPO / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=REPO / "build") as folder:
        lines = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
        lines += [
            "resources: [../../deploy]",
            "components: [../../deploy/components/network-policy]",
        ]
        Path(folder, "kustomization.yaml").write_text("\n".join(lines))
        return render(os.path.relpath(folder, REPO))


@pytest.mark.parametrize("release", RELEASES)
def test_the_network_policy_admits_only_labelled_namespaces_to_the_one_port(release):
    (policy,) = (each for each in with_network_policy() if each["kind"] == "NetworkPolicy")
    kubernetes_validate.validate(policy, release, strict=True)
    assert policy["metadata"]["namespace"] == the("deploy", "Namespace")["metadata"]["name"]
    template = the("deploy", "DaemonSet")["spec"]["template"]["metadata"]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= template["labels"].items()
    (rule,) = policy["spec"]["ingress"]
    (source,) = rule["from"]
    assert list(source) == ["namespaceSelector"]
    assert source["namespaceSelector"]["matchLabels"]
    (port,) = container("deploy")["ports"]
    assert rule["ports"] == [{"protocol": "TCP", "port": port["name"]}]


@pytest.mark.parametrize("folder", FOLDERS[:4])
def test_the_namespace_admits_it_and_all_of_it_goes_with_the_namespace_or_by_label(folder):
    namespace = the(folder, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    for each in render(folder):
        if each["kind"] != "Namespace" and "namespace" in each["metadata"]:
            assert each["metadata"]["namespace"] == namespace["metadata"]["name"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_are_of_this_version(folder):
    ours = {
        container["image"]
        for each in render(folder)
        for container in (
            each.get("spec", {}).get("containers")
            or each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
        )
        if container["image"].startswith("zombie-tracer")
    }
    (image,) = ours
    with_bcc = folder.endswith(("bcc", "privileged"))
    assert image == f"zombie-tracer:{__version__}" + ("" if with_bcc else "-core")


def test_the_dockerfile_has_the_targets_that_the_build_script_asks_for():
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (REPO / "Dockerfile").read_text(), re.MULTILINE)
    # The last stage is what a build without --target makes.
    assert stages == ["build", "core", "bcc"]


def test_examples_need_no_right_at_all():
    pods = objects("deploy/examples", "Pod")
    for pod in pods:
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for each in pod["spec"]["containers"]:
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert each["resources"]["limits"]["memory"]
    (namespace,) = objects("deploy/examples", "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_there_is_an_example_of_every_cause_that_a_pod_can_show():
    expected = {
        pod["metadata"]["labels"]["zombie-example/expected"]
        for pod in objects("deploy/examples", "Pod")
    }
    cannot = {CauseCode.RUNTIME_PARENT, CauseCode.SIGCHLD_IGNORED, CauseCode.UNKNOWN}
    assert expected == {str(cause) for cause in CauseCode if cause not in cannot} | {"nothing"}


def test_the_c_program_of_the_example_compiles_and_makes_its_zombies(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (config,) = objects("deploy/examples", "ConfigMap")
    (tmp_path / "zombie.c").write_text(config["data"]["zombie.c"])
    program = tmp_path / "zombie"
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, tmp_path / "zombie.c"], check=True
    )
    with subprocess.Popen([program, "5"]) as parent:
        try:
            deadline = time.monotonic() + 10
            while (states := child_states(parent.pid)) != ["Z"] * 5:
                assert time.monotonic() < deadline, states
                os.sched_yield()
        finally:
            parent.kill()


def child_states(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children
    ]
