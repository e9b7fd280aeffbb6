"""What stands in deploy/: commands that exist, networks that lead nowhere, sound manifests."""

import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml

from experiments.cli import entrepot
from federation.control.supervise import FINAL
from federation.key_sources import source_of

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
NODE = DEPLOY / "kubernetes" / "node.yaml"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def documents(path):
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def assert_exists(words):
    """Every word up to the first argument names a command, and every option is one of its own."""
    found, rest = entrepot, list(words)
    while isinstance(found, click.Group):
        found = found.get_command(click.Context(found), rest.pop(0))
        assert found is not None, words
    options = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options, words


def unit(path):
    parser = RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_a_command_that_exists(path):
    program, *words = shlex.split(unit(path)["Service"]["ExecStart"])
    assert program == "/opt/entrepot/bin/entrepot"
    assert_exists(words)


@pytest.mark.parametrize("name", ["entrepot-node", "entrepot-aggregator"])
def test_what_ends_for_good_is_not_started_again(name):
    service = unit(DEPLOY / "systemd" / f"{name}.service")["Service"]
    assert set(map(int, service["RestartPreventExitStatus"].split())) == FINAL
    assert service["UMask"] == "0077" and service["ProtectSystem"] == "strict"


def test_what_a_node_compiles_lies_where_it_alone_may_write():
    service = unit(DEPLOY / "systemd" / "entrepot-node.service")["Service"]
    assert service["Environment"].endswith(" XDG_CACHE_HOME=/var/cache")
    assert (service["CacheDirectory"], service["CacheDirectoryMode"]) == ("entrepot", "0700")
    assert " XDG_CACHE_HOME=/cache\n" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert all("/cache" in part["tmpfs"] for part in COMPOSE["services"].values())
    sets = [one for one in documents(NODE) if one["kind"] == "StatefulSet"]
    pods = [one["spec"]["template"]["spec"] for one in sets]
    for pod in pods:
        parts = pod["containers"]
        mounts = {one["name"]: {at["name"] for at in one["volumeMounts"]} for one in parts}
        assert [name for name, volumes in mounts.items() if "cache" in volumes] == ["node"]
    assert pods


@pytest.mark.parametrize("name", ["node", "aggregator"])
def test_a_unit_says_how_its_folder_is_sealed(name):
    lines = (DEPLOY / "systemd" / f"entrepot-{name}.service").read_text().splitlines()
    (command,) = [line for line in lines if "vault init" in line]
    words = shlex.split(command.removeprefix("#"))
    assert words[0] == "entrepot"
    assert_exists(words[1:])
    source = source_of(words[-1])
    assert f"#LoadCredentialEncrypted={source.name}:/etc/entrepot/{name}.cred" in lines


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_knows_every_word_of_a_unit(path, tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze on this machine")
    program = tmp_path / "entrepot"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / path.name
    text = path.read_text().replace("#LoadCredentialEncrypted", "LoadCredentialEncrypted")
    copy.write_text(text.replace("/opt/entrepot/bin/entrepot", str(program)))
    said = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True)
    assert not [line for line in said.stderr.splitlines() if path.name in line], said.stderr


def test_every_service_of_the_composition_runs_a_command_that_exists():
    for service in COMPOSE["services"].values():
        assert_exists(service["command"])
        assert service["cap_drop"] == ["ALL"] and service["read_only"]


def test_no_node_stands_in_a_network_that_leads_out():
    inside = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    assert inside == set(COMPOSE["networks"]) - {"outside"}
    for name, service in COMPOSE["services"].items():
        if name == "aggregator":
            assert set(service["networks"]) == {"outside", *inside}
        else:
            assert len(service["networks"]) == 1 and set(service["networks"]) <= inside
            assert "ports" not in service
            assert service["networks"][0] == name.rpartition("-")[2]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_is_one_that_kubernetes_takes(path):
    for document in documents(path):
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_pods_are_restricted_alone_and_run_what_exists(path):
    (pods,) = [document for document in documents(path) if document["kind"] == "StatefulSet"]
    assert pods["spec"]["replicas"] == 1
    spec = pods["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False and spec["securityContext"]["runAsNonRoot"]
    for container in spec["containers"]:
        assert_exists(container["args"])
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]


def test_a_node_takes_nobody_in_and_calls_the_aggregator_alone():
    (policy,) = [d for d in documents(DEPLOY / "kubernetes" / "node.yaml") if "Policy" in d["kind"]]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policy["spec"] and policy["spec"]["podSelector"] == {}
    aggregator, names = policy["spec"]["egress"]
    assert aggregator["to"] == [{"ipBlock": {"cidr": "192.0.2.10/32"}}]
    assert {port["port"] for port in names["ports"]} == {53}


def test_nothing_in_the_folder_is_a_key():
    for path in DEPLOY.rglob("*"):
        assert path.suffix in {"", ".md", ".yaml", ".service"}
        assert path.is_dir() or "PRIVATE KEY" not in path.read_text(encoding="utf-8")
