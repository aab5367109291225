"""What is deployed, against the schemas of those who read it.

The schemas of KubeRay, Kueue and the Prometheus operator are read beside the checkout where they
are; without them those tests skip. Kubernetes' own come with a development tool.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERAY = DEPLOY / "kuberay"

CRDS = {
    "RayJob": "ray.io_rayjobs.yaml",
    "RayCluster": "ray.io_rayclusters.yaml",
    "PodMonitor": "monitoring.coreos.com_podmonitors.yaml",
    "PrometheusRule": "monitoring.coreos.com_prometheusrules.yaml",
    "ClusterQueue": "kueue.x-k8s.io_clusterqueues.yaml",
    "LocalQueue": "kueue.x-k8s.io_localqueues.yaml",
    "ResourceFlavor": "kueue.x-k8s.io_resourceflavors.yaml",
}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERAY.glob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            yield f"{path.name}:{number}", document


DOCUMENTS = dict(documents())
CUSTOM = [name for name, document in DOCUMENTS.items() if document["kind"] in CRDS]
CORE = [name for name, document in DOCUMENTS.items() if document["kind"] not in CRDS]


class Loader(yaml.CSafeLoader):
    """Reads `=`, which the schemas use as text and YAML 1.1 as a value of its own."""


def text(loader: Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


Loader.add_constructor("tag:yaml.org,2002:value", text)


def strict(schema: Any) -> Any:
    """Return a structural schema in which a key it does not name is an error."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # Patterns are Go's, whose flags Python refuses; formats are Kubernetes' own.
    out = {key: strict(value) for key, value in schema.items() if key not in ("format", "pattern")}
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open:
        out.setdefault("additionalProperties", False)
    return out


@functools.cache
def schema_of(kind: str, version: str, shared: Path) -> Any:
    file = shared / "schemas" / CRDS[kind]
    crd = yaml.load(file.read_text(), Loader=Loader)
    for served in crd["spec"]["versions"]:
        if served["name"] == version:
            schema = strict(served["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            return schema
    raise AssertionError(f"{kind} has no version {version}")


def validate(document: Mapping[str, Any], shared: Path) -> None:
    """Raise jsonschema.ValidationError where a document does not fit its operator's schema."""
    schema = schema_of(document["kind"], document["apiVersion"].partition("/")[2], shared)
    jsonschema.Draft202012Validator(schema).validate(document)


def need_schemas(shared: Path | None) -> Path:
    if shared is None or not (shared / "schemas").is_dir():
        pytest.skip("the schemas of KubeRay and others are not beside this checkout")
    return shared


@pytest.mark.parametrize("name", CUSTOM)
def test_a_custom_resource_fits_the_schema_of_its_operator(name: str, shared: Path | None) -> None:
    document = DOCUMENTS[name]
    validate(document, need_schemas(shared))


def test_a_misspelt_key_deep_in_a_pod_template_is_noticed(shared: Path | None) -> None:
    document = copy.deepcopy(DOCUMENTS["rayjob.yaml:0"])
    pod = document["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    pod["containers"][0]["imagee"] = pod["containers"][0].pop("image")
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        validate(document, need_schemas(shared))


@pytest.mark.parametrize("name", CORE)
def test_a_core_resource_fits_the_schema_of_kubernetes(name: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[name], "1.34", strict=True)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, document in DOCUMENTS.items():
        spec = document.get("spec", {})
        cluster = spec.get("rayClusterSpec", spec)
        groups = [cluster.get("headGroupSpec"), *cluster.get("workerGroupSpecs", [])]
        for number, group in enumerate(g for g in groups if g):
            yield f"{name} group {number}", group["template"]


@pytest.mark.parametrize(("name", "pod"), list(pods()))
def test_a_pod_is_unprivileged_and_sound(name: str, pod: dict[str, Any]) -> None:
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod["spec"]},
        "1.34",
        strict=True,
    )
    assert pod["spec"]["securityContext"]["runAsNonRoot"], name
    for container in pod["spec"]["containers"]:
        context = container["securityContext"]
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert ":latest" not in container["image"], name


def test_the_operators_own_rules_that_no_schema_has() -> None:
    """KubeRay, ray-operator/controllers/ray/utils/validation.go."""
    job = DOCUMENTS["rayjob.yaml:0"]
    assert len(job["metadata"]["name"]) <= 47
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["backoffLimit"] == 0
    for cluster in (job["spec"]["rayClusterSpec"], DOCUMENTS["raycluster.yaml:0"]["spec"]):
        assert cluster["authOptions"]["mode"] == "token"
        head = cluster["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == "0"
        for group in [head, *cluster["workerGroupSpecs"]]:
            assert group["template"]["spec"]["restartPolicy"] == "Never"
            assert "resources" not in group


def test_the_image_and_the_manifests_name_the_ray_that_is_tested() -> None:
    dockerfile = (DEPLOY / "image" / "Dockerfile").read_text()
    assert f"ARG RAY_VERSION={ray.__version__}\n" in dockerfile
    assert DOCUMENTS["raycluster.yaml:0"]["spec"]["rayVersion"] == ray.__version__
    assert (
        f"ray[default,train]=={ray.__version__}" in (DEPLOY / "ray" / "aws-spot.yaml").read_text()
    )


@pytest.mark.parametrize("name", ["aws-spot.yaml", "on-premise.yaml"])
def test_a_launcher_file_fits_ray_s_own_schema(name: str) -> None:
    schema = json.loads((Path(ray.__path__[0]) / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((DEPLOY / "ray" / name).read_text()), schema)


def test_compose_publishes_on_loopback_only_and_keeps_secrets_in_files() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())
    text = json.dumps(compose["services"])
    assert "password" not in text.replace("grafana_password", "").lower().replace(
        "gf_security_admin_password__file", ""
    )
