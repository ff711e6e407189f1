"""The container and cluster files, as far as they can be held against the code without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs._build import reference

TOP = Path(__file__).resolve().parents[3]
FOLDER = TOP / "deployments" / "container"
IMAGE = "concord:0.1.0"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def containers(manifests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for manifest in manifests:
        spec = manifest["spec"]["template"]["spec"]
        yield from (*spec["initContainers"], *spec["containers"])


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    sources = [word for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)[:-1]]
    let_through = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert {"requirements.lock", "flows", "apps"} <= set(sources)
    assert [s for s in sources if not (TOP / s).exists() or f"!{s}" not in let_through] == []


def test_every_package_of_ours_is_in_the_image() -> None:
    packages = {folder.name for folder in TOP.iterdir() if (folder / "__init__.py").exists()} - {"tests", "docs"}
    copied = {word for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)[:-1]}
    assert packages <= copied


def test_the_image_does_not_run_as_root_and_checks_what_it_installs() -> None:
    named = dict(instructions())
    assert named["USER"] == "concord"
    assert named["FROM"].startswith("python:3.1")
    installs = [rest for name, rest in instructions() if name == "RUN" and "requirements.lock" in rest]
    assert all("--require-hashes" in rest and "--no-deps" in rest for rest in installs)


def test_nothing_but_loopback_is_published_and_the_server_asks_for_a_login(services: dict[str, Any]) -> None:
    ports = [str(port) for service in services.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:4200:4200"]
    server = services["prefect"]["environment"]
    assert {"PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_ENCRYPTION_KEY"} <= set(server)
    assert server["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"


def test_no_secret_is_written_down_and_each_is_asked_for(services: dict[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert set(re.findall(r"\$\{(\w+):\?", text)) == asked
    example = dict(line.split("=", 1) for line in (FOLDER / "example.env").read_text().splitlines() if "=" in line[:30])
    assert asked <= set(example)
    assert [name for name, value in example.items() if value and name in asked] == []
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or str(value).startswith("${"), name


def test_what_waits_for_what_exists(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        waited_for = [other for other, how in service.get("depends_on", {}).items() if "healthy" in how["condition"]]
        assert [other for other in waited_for if "healthcheck" not in services[other]] == []


def spoken(services: dict[str, Any], manifests: list[dict[str, Any]]) -> list[list[str]]:
    """Every call of `concord` in the files."""
    texts: list[str] = []
    for service in services.values():
        if service["image"] == IMAGE:
            entry, command = service.get("entrypoint", ["concord"]), service.get("command", [])
            texts.append(" ".join([*entry, *command]))
    texts += [" ".join(each["command"]) for each in containers(manifests)]
    return [shlex.split(found)[1:] for text in texts for found in re.findall(r"concord (?!worker)[a-z][^&]*", text)]


def test_every_command_exists_with_its_options(services: dict[str, Any], manifests: list[dict[str, Any]]) -> None:
    known = {command.path.removeprefix("concord "): command for command in reference.commands()}
    calls = [words for words in spoken(services, manifests) if words[0] != "--type"]
    assert len(calls) >= 6
    for words in calls:
        name = next(n for n in (" ".join(words[:2]), words[0]) if n in known)
        for option in (word for word in words if word.startswith("--")):
            assert known[name].spells(option), f"concord {' '.join(words)}"


def test_the_cluster_takes_its_secrets_from_a_secret_and_runs_nothing_as_root(manifests: list[dict[str, Any]]) -> None:
    assert [m["kind"] for m in manifests] == ["Job", "Deployment"]
    assert all(m["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] for m in manifests)
    for container in containers(manifests):
        assert container["image"] == IMAGE
        assert "env" not in container
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    mounted = {m["name"] for c in containers(manifests) for m in c["volumeMounts"]}
    assert all(mounted == {v["name"] for v in m["spec"]["template"]["spec"]["volumes"]} for m in manifests)
