"""What the aggregator asks of its own Flower server: register nodes, start and stop runs.

A run needs an app bundle, because Flower has no run without one. Ours holds a `pyproject.toml`
and two empty modules; no side ever unpacks or runs it.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from federation import at_rest
from federation.control.quiet import QUIET
from policies.parties import PartyId
from secure_compute.primitives.node_keys import public_pem

os.environ.update(QUIET)
import httpx

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

# ----------------------------------------------------------------------------------------------
from aggregator.errors import AggregatorError
from aggregator.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from flwr.supercore.protobuf.client import (
        ProtobufCall,
        ProtobufClientInterceptor,
        ProtobufRequestContext,
    )

_PROJECT = b"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "entrepot"
version = "0.1.0"
description = "An envelope for a run; its code is never run."
license = { file = "LICENSE" }
dependencies = ["flwr>=1.41.0"]
[tool.flwr.app]
publisher = "entrepot"
fab-format-version = 1
flwr-version-target = "1.41.0"
[tool.flwr.app.components]
serverapp = "entrepot.nothing:app"
clientapp = "entrepot.nothing:app"
[tool.flwr.app.config]
"""
_FILES = {
    "pyproject.toml": _PROJECT,
    "LICENSE": b"Apache-2.0\n",
    "README.md": b"Nothing in here is run.\n",
    "entrepot/__init__.py": b"",
    "entrepot/nothing.py": b"",
}


class ServerUnreachableError(AggregatorError):
    """The Flower server does not answer."""


class ServerRefusedError(AggregatorError):
    """The Flower server refused a call."""


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A node the server knows: our name for it, Flower's number, and whether it is there."""

    party: PartyId
    node_id: int
    public_key: bytes
    online: bool


class _Bearer:
    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def intercept(
        self, context: "ProtobufRequestContext", call_next: "ProtobufCall"
    ) -> httpx.Response:
        context.request.headers["authorization"] = self._header
        return call_next(context)


class ControlApi:
    """A client of the control port; `address` is `host:port`."""

    def __init__(self, address: str, places: Places) -> None:
        interceptors: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="flwr CLI"),
            _Bearer(at_rest.read(places.control_token).decode()),
        ]
        self._client = ControlHttpClient.from_server_address(
            address, False, places.ca.read_bytes(), interceptors
        )

    def nodes(self) -> list[RegisteredNode]:
        """Every registered node."""
        found = _ask(self._client.ListNodes, ListNodesRequest()).nodes_info
        return [
            RegisteredNode(PartyId(n.name), n.node_id, n.public_key, n.status == "online")
            for n in found
            if n.status != "unregistered"
        ]

    def register(self, party: PartyId, public_key: bytes) -> int:
        """Flower's number of the node whose public key (an OpenSSH line) is registered for `party`.

        Registering the same key for the same party again changes nothing; a new key for a party
        replaces its old one.
        """
        pem = public_pem(public_key)
        for node in self.nodes():
            if node.party == party and node.public_key == pem:
                return node.node_id
            if node.party == party or node.public_key == pem:
                self.unregister(node.node_id)
        request = RegisterNodeRequest(public_key=pem, name=party)
        return int(_ask(self._client.RegisterNode, request).node_id)

    def unregister(self, node_id: int) -> None:
        """The node may not connect again."""
        _ask(self._client.UnregisterNode, UnregisterNodeRequest(node_id=node_id))

    def start_run(self) -> int:
        """The number of a fresh run, which waits for our executor."""
        request = StartRunRequest(fab=fab_to_proto(_bundle()))
        return int(_ask(self._client.StartRun, request).run_id)

    def stop_runs(self) -> list[int]:
        """No run is under way; the numbers of those that were are returned."""
        runs = _ask(self._client.ListRuns, ListRunsRequest()).run_dict
        live = [number for number, run in runs.items() if run.status.status != "finished"]
        for number in live:
            _ask(self._client.StopRun, StopRunRequest(run_id=number))
        return live

    def close(self) -> None:
        """The connection is closed."""
        self._client.close()


@cache
def _bundle() -> Fab:
    content, _ = build_fab_from_files(_FILES)
    return Fab(hashlib.sha256(content).hexdigest(), content, {})


def _ask(call: "Callable[[Any], Any]", request: object) -> "Any":
    try:
        return call(request)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status >= 500:
            message = f"The Flower server failed with status {status}; look at its log."
            raise ServerUnreachableError(message) from error
        message = f"The Flower server refused a control call with status {status}."
        raise ServerRefusedError(message) from error
    except httpx.TransportError as error:
        message = "The Flower server does not answer on its control port; is it running?"
        raise ServerUnreachableError(message) from error
