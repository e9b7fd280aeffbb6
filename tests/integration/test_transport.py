"""Real server, real nodes: what holds while processes are killed."""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flwr.proto.node_pb2 import Node

from aggregator.control_api import ControlApi, ServerRefusedError
from aggregator.exchange import Lost
from aggregator.flower import FlowerExchange
from aggregator.places import Places
from clients.errors import WrongCertificateError
from clients.fleet import FleetClient
from clients.patience import NotRegisteredError
from experiments.local_fleet import LocalFleet, wait_until
from federation.control.captures import Capture, read_capture
from policies.parties import PartyId
from secure_compute.primitives.certificates import make_certificates
from secure_compute.primitives.node_keys import create_node_key

pytestmark = pytest.mark.slow
A, B = PartyId("warehouse-cn"), PartyId("merchant-uk")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), [A, B]) as running:
        yield running


@pytest.fixture(scope="module")
def exchange(fleet: LocalFleet) -> Iterator[FlowerExchange]:
    capture = Capture(fleet.places.folder / "sent.cap")
    exchange = FlowerExchange(replace(fleet.settings, capture=capture))
    yield exchange
    exchange.close()


def both(text: str) -> dict[PartyId, bytes]:
    return {party: f"{text} {party}".encode() for party in (A, B)}


def in_background(
    exchange: FlowerExchange, requests: dict[PartyId, bytes], timeout: float
) -> tuple[threading.Thread, dict[PartyId, bytes | Lost]]:
    replies: dict[PartyId, bytes | Lost] = {}
    thread = threading.Thread(
        target=lambda: replies.update(exchange.exchange(requests, timeout, "train")), daemon=True
    )
    thread.start()
    return thread, replies


def computed(fleet: LocalFleet, party: PartyId, request: bytes) -> int:
    log = fleet.node_folder(party) / "computed.log"
    return log.read_bytes().splitlines().count(request) if log.exists() else 0


def test_every_party_answers_and_every_message_is_captured_before_it_is_sent(
    fleet: LocalFleet, exchange: FlowerExchange
) -> None:
    requests = both("hello")
    assert exchange.exchange(requests, 60.0) == requests
    sent = list(read_capture(fleet.places.folder / "sent.cap"))
    assert sorted(sent) == sorted(requests.values())
    assert requests[A] in read_capture(fleet.node_folder(A) / "sent.cap")


def test_a_large_message_arrives_whole(exchange: FlowerExchange) -> None:
    request = b"large\0" + os.urandom(12_000_000)
    assert exchange.exchange({A: request}, 120.0) == {A: request}


def test_without_enclosures_every_object_moves_in_a_call_of_its_own(
    exchange: FlowerExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.tasklink.enclose", lambda *_, **__: None)
    assert exchange.exchange(both("bare"), 20.0, "train") == both("bare")


def test_with_enclosures_no_object_moves_in_a_call_of_its_own(
    exchange: FlowerExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("an object moved in a call of its own")

    monkeypatch.setattr("aggregator.tasklink.make_pull_object_fn_protobuf", lambda *_: refused)
    monkeypatch.setattr("aggregator.tasklink.make_push_object_fn_protobuf", lambda *_: refused)
    assert exchange.exchange(both("enclosed"), 20.0, "train") == both("enclosed")


def test_a_repeated_request_is_answered_from_memory(
    fleet: LocalFleet, exchange: FlowerExchange
) -> None:
    request = b"once more"
    assert exchange.exchange({A: request}, 60.0) == exchange.exchange({A: request}, 60.0)
    assert computed(fleet, A, request) == 1


def test_the_text_of_an_exception_stays_at_the_node(exchange: FlowerExchange) -> None:
    reply = exchange.exchange({A: b"boom"}, 60.0)[A]
    assert isinstance(reply, Lost)
    assert "4711" not in reply.reason


def test_a_party_that_is_not_registered_is_lost_and_the_others_are_not(
    exchange: FlowerExchange,
) -> None:
    replies = exchange.exchange({A: b"there", PartyId("nobody"): b"there"}, 60.0)
    assert replies == {A: b"there", "nobody": Lost("not registered")}


def test_a_node_killed_in_mid_exchange_resumes_when_it_is_back(
    fleet: LocalFleet, exchange: FlowerExchange
) -> None:
    requests = both("sleep 3 node")
    thread, replies = in_background(exchange, requests, 120.0)
    wait_until(lambda: computed(fleet, A, requests[A]) == 1)
    fleet.kill(A)
    fleet.start_node(A)
    thread.join(120.0)
    assert replies == requests


def test_a_node_that_stays_away_is_lost_and_the_others_are_not(
    fleet: LocalFleet, exchange: FlowerExchange
) -> None:
    fleet.kill(B)
    requests = both("alone")
    replies = exchange.exchange(requests, 30.0)  # B uses all of it up, A must answer within it
    assert replies[A] == requests[A]
    assert isinstance(replies[B], Lost)
    fleet.start_node(B)
    assert exchange.exchange(both("together again"), 90.0) == both("together again")


def test_an_exchange_outlives_the_server(fleet: LocalFleet, exchange: FlowerExchange) -> None:
    requests = both("sleep 2 server")
    thread, replies = in_background(exchange, requests, 120.0)
    wait_until(lambda: all(computed(fleet, party, requests[party]) == 1 for party in (A, B)))
    fleet.kill("superlink")
    fleet.start_server()
    thread.join(120.0)
    assert replies == requests
    assert all(computed(fleet, party, requests[party]) == 1 for party in (A, B))


def test_another_executor_takes_over_and_gets_the_answers_that_were_given(
    fleet: LocalFleet, exchange: FlowerExchange
) -> None:
    requests = both("takeover")
    assert exchange.exchange(requests, 60.0) == requests
    second = FlowerExchange(fleet.settings)  # as after the death of the first
    assert second.exchange(requests, 60.0) == requests
    assert all(computed(fleet, party, requests[party]) == 1 for party in (A, B))
    assert exchange.exchange(both("and back"), 60.0) == both("and back")  # its run was stopped
    second.link = None


def test_an_unregistered_key_is_refused(fleet: LocalFleet) -> None:
    create_node_key(fleet.node_folder("stranger") / "flower")
    fleet.start_node("stranger")
    log = fleet.node_folder("stranger").parent.parent / "stranger.log"
    wait_until(lambda: log.exists() and b"Not admitted" in log.read_bytes())
    assert not (fleet.node_folder("stranger") / "node_id").exists()
    fleet.kill("stranger")


def test_the_control_port_needs_the_token(fleet: LocalFleet, tmp_path: Path) -> None:
    strange = Places(tmp_path)
    strange.control_token.parent.mkdir()
    strange.control_token.write_text("0" * 64)
    strange.ca.write_bytes(fleet.places.ca.read_bytes())
    with pytest.raises(ServerRefusedError, match="401"):
        ControlApi(fleet.settings.address, strange).nodes()


@pytest.mark.parametrize(
    "path", ["/v1/control/list-nodes", "/v1/runtime/acquire-task", "/docs", "/openapi.json"]
)
def test_the_fleet_port_answers_fleet_routes_only(fleet: LocalFleet, path: str) -> None:
    assert status(fleet, fleet.fleet_port, path) == 404


def test_no_fleet_route_on_the_control_port(fleet: LocalFleet) -> None:
    assert status(fleet, fleet.control_port, "/v1/fleet/pull-messages") == 404


def test_the_control_port_is_on_loopback_only(fleet: LocalFleet) -> None:
    with socket.create_connection(("127.0.0.1", fleet.control_port)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


def test_a_taken_port_ends_the_server_with_one_sentence(fleet: LocalFleet, tmp_path: Path) -> None:
    started = time.monotonic()
    server = subprocess.run(
        [
            *(sys.executable, "-m", "aggregator.superlink", "--folder", str(tmp_path)),
            *("--fleet-port", str(fleet.fleet_port)),
            *("--control-port", str(fleet.control_port)),
        ],
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - started < 60
    assert server.returncode == 2
    assert server.stderr.strip().splitlines()[-1].startswith(f"Port {fleet.fleet_port} ")
    assert "Traceback" not in server.stderr


def client(fleet: LocalFleet, party: PartyId, ca: bytes) -> FleetClient:
    folder = fleet.node_folder(party)
    address = f"127.0.0.1:{fleet.fleet_port}"
    return FleetClient(address, ca, folder / "flower", 10.0, folder / "node_id", threading.Event())


def test_a_server_with_a_strange_certificate_is_refused(fleet: LocalFleet) -> None:
    strange = make_certificates(datetime.now(UTC)).ca
    with pytest.raises(WrongCertificateError, match="certificate"):
        client(fleet, A, strange).join()


def test_a_node_cannot_speak_for_another(fleet: LocalFleet) -> None:
    folder = fleet.node_folder(B)
    number = (fleet.node_folder(A) / "node_id").read_text()
    before = (folder / "node_id").read_text()
    (folder / "node_id").write_text(number)
    impostor = client(fleet, B, fleet.places.ca.read_bytes())
    impostor._node = Node(node_id=int(number))
    try:
        with pytest.raises(NotRegisteredError):
            impostor.pull()
        assert not impostor.leave()
    finally:
        (folder / "node_id").write_text(before)


def test_a_node_whose_key_was_withdrawn_ends_with_a_clear_error(fleet: LocalFleet) -> None:
    fleet.control().unregister(int((fleet.node_folder(B) / "node_id").read_text()))
    process = fleet.processes[B]
    wait_until(lambda: process.poll() is not None)
    assert process.returncode == 1
    log = fleet.node_folder(B).parent.parent / f"{B}.log"
    assert "does not know this node's key" in log.read_text().splitlines()[-1]


def status(fleet: LocalFleet, port: int, path: str) -> int:
    context = ssl.create_default_context(cafile=str(fleet.places.ca))
    request = urllib.request.Request(f"https://127.0.0.1:{port}{path}", data=b"", method="POST")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
