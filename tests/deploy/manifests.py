"""The files in deploy/ as data: services of compose.yaml, objects and containers of the manifests."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
KUSTOMIZATIONS = ("base", "example", "job")


@dataclass(frozen=True)
class Pod:
    """Template of pods, with the name of the object that makes them."""

    owner: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def documents(path: Path) -> list[dict[str, Any]]:
    """Parse every document of a YAML file."""
    return [found for found in YAML(typ="safe").load_all(path.read_text(encoding="utf-8")) if found]


@cache
def objects() -> list[dict[str, Any]]:
    """Return the objects that the files contain, before kustomize changes them."""
    files = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
    return [found for path in files for found in documents(path)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [found for found in objects() if found["kind"] == kind]


@cache
def pods() -> list[Pod]:
    """Return the templates of all pods, those of Ray's nodes with the labels that KubeRay adds."""
    return [pod for found in objects() for pod in _pods_of(found)]


def _pods_of(found: dict[str, Any]) -> Iterator[Pod]:
    name = found["metadata"]["name"]
    if found["kind"] == "RayCluster":
        groups = [("head", found["spec"]["headGroupSpec"])]
        groups += [("worker", group) for group in found["spec"]["workerGroupSpecs"]]
        for role, group in groups:
            yield Pod(f"{name}-{role}", {"ray.io/cluster": name, "ray.io/node-type": role}, group["template"]["spec"])
    elif "template" in found.get("spec", {}):
        template = found["spec"]["template"]
        yield Pod(name, template["metadata"]["labels"], template["spec"])


@cache
def rendered(kustomization: str) -> list[dict[str, Any]] | None:
    """Return the objects that kustomize makes; None without kubectl."""
    if shutil.which("kubectl") is None:
        return None
    command = ["kubectl", "kustomize", str(KUBERNETES / kustomization)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in YAML(typ="safe").load_all(done.stdout) if found]


@cache
def compose(file: str = "compose.yaml") -> dict[str, Any]:
    (found,) = documents(DEPLOY / file)
    return found
