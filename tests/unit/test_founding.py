"""Folders of a founded federation: what lies where, and what a later start adds."""

import socket
import tomllib
from pathlib import Path

import pytest
import tomli_w

from aggregator.settings import load_aggregator
from clients.certificate import require_shown
from clients.settings import load_settings
from experiments.checkup import checkup
from experiments.founding import DEMO_SEATS, Ports, found, free_ports, move
from experiments.home import Home
from policies.parties import PartyId
from tests.simulator import LIMITS

NODES = 11


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return found(tmp_path / "home", "founded", DEMO_SEATS, LIMITS, Ports(1, 2, 3))


def nodes(home: Home) -> list[Path]:
    return sorted((home.folder / "nodes").iterdir())


def without_streams(home: Home) -> None:
    """As a federation was founded before nodes had streams."""
    path = home.aggregator / "aggregator.toml"
    value = tomllib.loads(path.read_text(encoding="utf-8"))
    del value["stream_port"]
    path.write_text(tomli_w.dumps(value), encoding="utf-8")
    for node in nodes(home):
        value = tomllib.loads((node / "node.toml").read_text(encoding="utf-8"))
        del value["aggregator"]["stream"]
        (node / "node.toml").write_text(tomli_w.dumps(value), encoding="utf-8")
        for file in node.glob("keys/stream.*"):
            file.unlink()


def said_of(home: Home, name: str) -> list[tuple[bool, str]]:
    return [(one.ok, one.said) for one in checkup(home.folder) if one.name == name]


def test_every_node_shows_its_own_party_and_all_know_where_to_connect(home: Home) -> None:
    assert len(nodes(home)) == NODES
    assert load_aggregator(home.aggregator).stream_port == 3
    ca = (home.aggregator / "keys" / "ca.crt").read_bytes()
    for node in nodes(home):
        settings = load_settings(node)
        shown = require_shown(settings)
        assert shown is not None and shown.party == node.name
        assert (settings.address, settings.stream) == ("127.0.0.1:1", "127.0.0.1:3")
        assert settings.ca.read_bytes() == ca


def test_no_two_ports_are_the_same() -> None:
    ports = free_ports()
    assert len({ports.fleet, ports.control, ports.stream}) == 3


def test_private_keys_are_their_owners_alone(home: Home) -> None:
    private = [*home.folder.rglob("*.key"), *home.folder.rglob("keys/flower")]
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert sum(path.name == "stream.key" for path in private) == NODES


def test_a_federation_that_moves_keeps_its_certificates(home: Home) -> None:
    shown = {path: path.read_bytes() for path in home.folder.rglob("*.crt")}
    move(home, Ports(4, 5, 6))
    assert {path: path.read_bytes() for path in home.folder.rglob("*.crt")} == shown
    settings = load_aggregator(home.aggregator)
    assert (settings.fleet_port, settings.control_port, settings.stream_port) == (4, 5, 6)
    assert {load_settings(node).stream for node in nodes(home)} == {"127.0.0.1:6"}


def test_a_federation_founded_before_streams_is_given_them_when_it_moves(home: Home) -> None:
    without_streams(home)
    assert load_aggregator(home.aggregator).stream_port is None
    assert {load_settings(node).stream for node in nodes(home)} == {None}
    identities = {path: path.read_bytes() for path in home.folder.rglob("identity.key")}
    move(home, Ports(4, 5, 6))
    for node in nodes(home):
        shown = require_shown(load_settings(node))
        assert shown is not None and shown.party == node.name
    assert {path: path.read_bytes() for path in home.folder.rglob("identity.key")} == identities


def test_a_doctor_looks_at_what_nodes_show(home: Home) -> None:
    assert said_of(home, "streams") == [(True, f"the certificates of {NODES} nodes are good")]
    node = home.node(PartyId("merchant-uk"))
    (node / "keys" / "stream.crt").write_bytes(b"no certificate")
    ((fit, said),) = said_of(home, "streams")
    assert not fit and said.startswith("merchant-uk: ")
    without_streams(home)
    found = said_of(home, "streams")
    assert len(found) == NODES and all(fit and "names no stream" in said for fit, said in found)


def test_a_doctor_says_which_port_of_a_running_federation_does_not_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said_of(home, "reach") == []
    monkeypatch.setattr("experiments.running.is_running", lambda _: True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port, free = listening.getsockname()[1], free_ports()
        move(home, Ports(port, free.control, free.stream))
        assert said_of(home, "reach") == [
            (True, f"the fleet port {port} answers"),
            (False, f"nothing answers on stream port {free.stream}; see aggregator/logs"),
        ]
