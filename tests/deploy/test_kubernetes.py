"""The manifests for Kubernetes: what they start, and what they allow."""

import importlib.util
import re
from dataclasses import dataclass
from typing import Any

import pytest
import typer

import tuner
from deploy.select_requirements import locked_packages
from tests.deploy.manifests import KUBERNETES, KUSTOMIZATIONS, ROOT, Pod, documents, objects, of_kind, pods, rendered
from tuner.cli.main import EXIT_CODES, app

PODS = pods()
TUNE = typer.main.get_command(app)
CONTAINERS = [(pod, container) for pod in PODS for container in pod.containers]
each_pod = pytest.mark.parametrize("pod", PODS, ids=[pod.owner for pod in PODS])
each_container = pytest.mark.parametrize(
    ("pod", "container"), CONTAINERS, ids=[f"{pod.owner}-{container['name']}" for pod, container in CONTAINERS]
)
RAY_CLUSTER_FIELDS = {
    "spec": {"rayVersion", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions"},
    "head": {"serviceType", "rayStartParams", "template"},
    "worker": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
    "autoscaler": {
        *("resources", "image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext"),
        *("idleTimeoutSeconds", "upscalingMode"),
    },
}
"""Fields of `ray.io/v1` as the types of KubeRay 1.1 state them; no package carries its schema."""


@dataclass(frozen=True)
class Source:
    """Labels of a pod that connects, and those of its namespace."""

    pod: dict[str, str]
    namespace: str = "mamba-yolo-tuner"


def required(kustomization: str) -> list[dict[str, Any]]:
    found = rendered(kustomization)
    if found is None:
        pytest.skip("kubectl is not installed")
    return found


# Rights and limits


@each_pod
def test_every_pod_is_restricted_and_has_a_minute_to_stop(pod):
    security = pod.spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod.spec["terminationGracePeriodSeconds"] >= 60
    assert pod.spec["automountServiceAccountToken"] is False


@each_container
def test_every_container_has_few_rights_and_limits(pod, container):
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]


@each_container
def test_every_container_except_that_of_a_search_has_probes(pod, container):
    probes = {"startupProbe", "readinessProbe", "livenessProbe"} & set(container)
    assert len(probes) == (0 if pod.owner == "search" else 3)


@each_pod
def test_the_images_of_our_pods_run_as_the_user_of_the_dockerfile_and_can_write_where_they_must(pod):
    if not any(container["image"].startswith("mamba-yolo-tuner") for container in pod.containers):
        return
    user = re.search(r"useradd --uid (\d+)", (ROOT / "deploy/Dockerfile").read_text())
    assert user
    assert pod.spec["securityContext"]["runAsUser"] == int(user[1])
    for container in pod.containers:
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {"/tmp", "/home/tune", "/studies"} <= writable


@each_container
def test_every_volume_that_is_mounted_is_declared(pod, container):
    claims = {claim["metadata"]["name"] for found in objects() for claim in _templates(found)}
    declared = {volume["name"] for volume in pod.spec["volumes"]} | claims
    assert {mount["name"] for mount in container["volumeMounts"]} <= declared


def _templates(found: dict[str, Any]) -> list[dict[str, Any]]:
    return found.get("spec", {}).get("volumeClaimTemplates", [])


# Secrets


def test_no_object_is_a_secret():
    assert of_kind("Secret") == []


@each_container
def test_every_secret_value_is_a_reference_and_no_url_contains_a_password(pod, container):
    for variable in container.get("env", []):
        if re.search("PASSWORD|TOKEN", variable["name"]):
            assert set(variable["valueFrom"]["secretKeyRef"]) == {"name", "key"}
        else:
            assert not re.search(r"://[^/@]*:[^/@]*@", variable["value"])


# Names that the code defines


@each_container
def test_variables_and_commands_of_the_tuner_exist(pod, container):
    known = {name for command in _commands() for p in command.params for name in _variables(p)}
    given = {variable["name"] for variable in container.get("env", []) if variable["name"].startswith("TUNE_")}
    assert given <= known
    if container.get("args", [""])[0] != "tune":
        return
    verb, *options = container["args"][1:]
    if verb == "serve" and verb not in TUNE.commands:
        pytest.skip("this version has no `tune serve`")
    stated = {name for p in TUNE.commands[verb].params for name in p.opts}
    assert {option.partition("=")[0] for option in options} <= stated


def _commands() -> list[Any]:
    found = list(TUNE.commands.values())
    return found + [below for command in found for below in getattr(command, "commands", {}).values()]


def _variables(parameter: Any) -> list[str]:
    return [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or [])


def test_exit_codes_that_decide_about_the_next_pod_are_those_of_the_tuner():
    (job,) = of_kind("Job")
    known = {int(code) for code in re.findall(r"\d+", EXIT_CODES)}
    rules = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    by_action = {rule["action"]: set(rule["onExitCodes"]["values"]) for rule in rules}
    assert by_action == {"Ignore": {75, 143}, "FailJob": {2, 3, 4, 6, 7}}
    assert set().union(*by_action.values()) <= known
    assert {rule["onExitCodes"]["containerName"] for rule in rules} == {"tune"}
    assert job["spec"]["podReplacementPolicy"] == "Failed", "one driver runs a study at a time"


# Versions


def test_images_have_the_version_of_the_project_and_the_cluster_that_of_ray():
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        (found,) = documents(kustomization)
        assert {image["newTag"] for image in found.get("images", [])} <= {tuner.__version__}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    (ray,) = [package.text.split("==")[1].split()[0] for package in locked_packages(lock) if package.name == "ray"]
    (cluster,) = of_kind("RayCluster")
    assert cluster["spec"]["rayVersion"] == ray


# Connections


def allowed(source: Source, target: Pod, port: int) -> bool:
    """Return whether the network policies let a connection into a pod."""
    policies = [
        policy["spec"]
        for policy in of_kind("NetworkPolicy")
        if "Ingress" in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], target.labels)
    ]
    rules = [rule for policy in policies for rule in policy.get("ingress", [])]
    return not policies or any(
        any(_comes_from(peer, source) for peer in rule["from"])
        and port in {entry["port"] for entry in rule.get("ports", [{"port": port}])}
        for rule in rules
    )


def _comes_from(peer: dict[str, Any], source: Source) -> bool:
    if "namespaceSelector" in peer:
        return _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": source.namespace})
    return source.namespace == "mamba-yolo-tuner" and _selects(peer["podSelector"], source.pod)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


PORTS = [("postgres", 5432), ("tuner-head", 6379), ("tuner-head", 8265), ("tuner-worker", 52365), ("serve", 8700)]
REACHED = {
    "serve": [("postgres", 5432), ("tuner-head", 8265)],
    "tuner-head": [("postgres", 5432), ("tuner-head", 6379), ("tuner-head", 8265), ("tuner-worker", 52365)],
    "tuner-worker": [("postgres", 5432), ("tuner-head", 6379), ("tuner-head", 8265), ("tuner-worker", 52365)],
    "postgres": [],
    "search": [],
}


@each_pod
def test_only_the_service_and_rays_nodes_reach_the_database_and_ray(pod):
    by_name = {found.owner: found for found in PODS}
    reached = [(name, port) for name, port in PORTS if allowed(Source(pod.labels), by_name[name], port)]
    assert reached == REACHED[pod.owner]


def test_from_other_namespaces_the_ingress_controller_alone_reaches_the_service_alone():
    by_name = {found.owner: found for found in PODS}
    same_labels = Source(by_name["serve"].labels, namespace="another")
    controller = Source({}, namespace="ingress-nginx")
    assert [name for name, port in PORTS if allowed(same_labels, by_name[name], port)] == []
    assert [name for name, port in PORTS if allowed(controller, by_name[name], port)] == ["serve"]


def test_every_service_and_budget_selects_a_pod():
    for found in [*of_kind("Service"), *of_kind("PodDisruptionBudget")]:
        selector = found["spec"]["selector"]
        labels = selector.get("matchLabels", selector)
        assert [pod.owner for pod in PODS if labels.items() <= pod.labels.items()], found["metadata"]["name"]


# The files as other tools read them


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_kustomize_puts_everything_into_one_namespace_with_images_of_a_registry(kustomization):
    found = required(kustomization)
    assert {o["metadata"].get("namespace") for o in found if o["kind"] != "Namespace"} == {"mamba-yolo-tuner"}
    images = set(re.findall(r"'image': '(mamba-yolo-tuner[^']*|registry[^']*)'", str(found)))
    assert images
    assert {image for image in images if not image.startswith("registry.example.org/mamba-yolo-tuner-")} == set()
    assert {image.rpartition(":")[2] for image in images} == {tuner.__version__}


def test_the_example_scales_the_workers_and_leaves_out_nothing():
    example = required("example")
    (cluster,) = [found["spec"] for found in example if found["kind"] == "RayCluster"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["workerGroupSpecs"][0]["minReplicas"] == 0
    assert set(cluster["autoscalerOptions"]) <= RAY_CLUSTER_FIELDS["autoscaler"]
    kinds = [(found["kind"], found["metadata"]["name"]) for found in required("base")]
    assert set(kinds) <= {(found["kind"], found["metadata"]["name"]) for found in example}


def test_the_fields_of_the_ray_cluster_are_those_of_kuberay():
    (cluster,) = of_kind("RayCluster")
    assert cluster["apiVersion"] == "ray.io/v1"
    assert set(cluster["spec"]) <= RAY_CLUSTER_FIELDS["spec"]
    assert set(cluster["spec"]["headGroupSpec"]) <= RAY_CLUSTER_FIELDS["head"]
    assert all(set(group) <= RAY_CLUSTER_FIELDS["worker"] for group in cluster["spec"]["workerGroupSpecs"])


@pytest.mark.parametrize("kustomization", ["base", "example"])
def test_rays_autoscaler_reads_the_cluster_as_intended(kustomization):
    derive = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    (cluster,) = [found for found in required(kustomization) if found["kind"] == "RayCluster"]
    read = derive._derive_autoscaling_config_from_ray_cr(cluster)
    head, workers = read["available_node_types"]["headgroup"], read["available_node_types"]["gpu"]
    assert (head["resources"]["CPU"], head["resources"].get("GPU", 0)) == (4, 0), "drivers need a CPU and no GPU"
    assert (workers["resources"]["CPU"], workers["resources"]["GPU"]) == (8, 1)
    assert (workers["min_workers"], workers["max_workers"]) == ((1, 8) if kustomization == "base" else (0, 8))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_the_schemas_of_kubernetes_accept_every_object(kustomization, version):
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubernetes-validate is not installed")
    import kubernetes_validate

    objects = [checked for found in required(kustomization) for checked in _with_schema(found)]
    assert objects
    for checked in objects:
        kubernetes_validate.validate(checked, version, strict=True)  # raises what it finds


def _with_schema(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the object, or the templates of pods in one whose schema is not Kubernetes' own."""
    if found["kind"] != "RayCluster":
        return [found]
    groups = [found["spec"]["headGroupSpec"], *found["spec"]["workerGroupSpecs"]]
    return [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "ray"}, "template": group["template"]}
        for group in groups
    ]
