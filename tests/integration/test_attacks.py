"""What a partner, a thief of the executor's place and an aggregator itself try on a real server.

A partner has what lies in its folder: the authority's certificate, its own registered key. Flower's
open server authenticates nobody on its control routes and hands tasks to whoever asks first; what
stands here is what each attack meets instead. Unregistered keys: `test_transport.py`.
"""

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from flwr.cli.build import build_fab_from_files
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.runtime import RuntimeHttpClient

from aggregator import control_api
from aggregator.control_api import ControlApi, ServerRefusedError
from aggregator.flower import FlowerExchange
from aggregator.places import Places
from experiments.local_fleet import LocalFleet, wait_until
from policies.parties import PartyId
from secure_compute.primitives.node_keys import create_node_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
A, B = PartyId("warehouse-cn"), PartyId("merchant-uk")
PROTECTED = frozenset({"/flwr.proto.Runtime/AcquireTask"})


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), [A, B]) as running:
        yield running


@pytest.fixture
def partner(fleet: LocalFleet, tmp_path: Path) -> Places:
    """What a partner can put in the place of an aggregator's folder: the certificate is public."""
    own = Places(tmp_path)
    own.control_token.parent.mkdir(exist_ok=True)
    own.control_token.write_text("0" * 64)
    own.executor_secret.write_bytes(bytes(32))
    own.ca.write_bytes(fleet.places.ca.read_bytes())
    return own


def both(text: str) -> dict[PartyId, bytes]:
    return {party: f"{text} {party}".encode() for party in (A, B)}


CALLS: dict[str, Callable[[ControlApi, bytes], Any]] = {
    "start a run": lambda control, _: control.start_run(),
    "stop all runs": lambda control, _: control.stop_runs(),
    "list the nodes": lambda control, _: control.nodes(),
    "register a node": lambda control, key: control.register(PartyId("sybil"), key),
    "withdraw a node": lambda control, _: control.unregister(1),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("port", "status"), [("control_port", "401"), ("fleet_port", "404")])
def test_a_partner_cannot_call_control(
    fleet: LocalFleet, partner: Places, call: str, port: str, status: str
) -> None:
    control = ControlApi(f"127.0.0.1:{getattr(fleet, port)}", partner)
    key = create_node_key(partner.folder / "sybil")
    with pytest.raises(ServerRefusedError, match=status):
        CALLS[call](control, key)
    assert {node.party for node in fleet.control().nodes()} == {A, B}


class Thief:
    """Asks for every task there is, as fast as it is answered."""

    def __init__(self, address: str, places: Places, *interceptors: Any) -> None:
        version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
        self.tokens: list[str] = []
        self.asked = 0
        self._over = threading.Event()
        self._client = RuntimeHttpClient.from_server_address(
            address, False, places.ca.read_bytes(), [version, *interceptors]
        )
        self._thread = threading.Thread(target=self._steal, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _steal(self) -> None:
        kinds = [TaskType.SERVER_APP, TaskType.CLIENT_APP]
        while not self._over.wait(0.01):
            self.asked += 1
            with suppress(httpx.HTTPStatusError):
                response = self._client.AcquireTask(AcquireTaskRequest(supported_task_types=kinds))
                if response.token:
                    self.tokens.append(response.token)


@pytest.mark.parametrize("secret", [b"", bytes(32), os.urandom(32)], ids=["no", "zero", "some"])
@pytest.mark.parametrize("port", ["control_port", "fleet_port"])
def test_nobody_steals_the_task_of_a_fresh_run(
    fleet: LocalFleet, partner: Places, port: str, secret: bytes
) -> None:
    shown = (
        [SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=PROTECTED)]
        if secret
        else []
    )
    with Thief(f"127.0.0.1:{getattr(fleet, port)}", partner, *shown) as thief:
        wait_until(lambda: thief.asked > 3)
        exchange = FlowerExchange(fleet.settings)
        assert exchange.exchange(both("mine"), 60.0) == both("mine")
        exchange.close()
    assert not thief.tokens


def test_the_secret_does_open_the_task(fleet: LocalFleet) -> None:
    """So that the thieves above fail for want of it, and not of how they ask."""
    own = fleet.places.executor_secret.read_bytes()
    shown = SuperExecAuthHttpInterceptor(master_secret=own, protected_methods=PROTECTED)
    with Thief(fleet.settings.address, fleet.places, shown) as thief:
        fleet.control().start_run()
        wait_until(lambda: bool(thief.tokens))
    fleet.control().stop_runs()


def edited(canary: Path) -> Fab:
    """A bundle whose every module leaves a mark where it is imported."""
    leave = f"open({str(canary)!r}, 'w').write('ran')\n".encode()
    app = b"from flwr.clientapp import ClientApp\napp = ClientApp()\n"
    files = {
        **control_api._FILES,
        "entrepot/__init__.py": leave,
        "entrepot/nothing.py": leave + app,
    }
    content, _ = build_fab_from_files(files)
    return Fab(hashlib.sha256(content).hexdigest(), content, {})


def test_an_edited_bundle_is_run_nowhere(
    fleet: LocalFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An aggregator that has every secret of its own ships code: nodes answer with theirs."""
    canary = tmp_path / "ran"
    bundle = edited(canary)
    monkeypatch.setattr(control_api, "_bundle", lambda: bundle)
    exchange = FlowerExchange(fleet.settings)
    for kind in ("train", "query.exchange"):
        assert exchange.exchange(both(kind), 60.0, kind) == both(kind)
    exchange.close()
    assert not canary.exists()
    unpacked = [path for party in (A, B) for path in fleet.node_folder(party).rglob("nothing*")]
    assert not unpacked


@pytest.mark.parametrize("port", ["fleet_port", "control_port"])
def test_older_tls_than_1_3_is_not_spoken(fleet: LocalFleet, port: str) -> None:
    def shake(version: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(fleet.places.ca))
        context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", getattr(fleet, port))) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.version()

    with pytest.raises(ssl.SSLError):
        shake(ssl.TLSVersion.TLSv1_2)
    assert shake(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
