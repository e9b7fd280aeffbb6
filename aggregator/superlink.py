"""The Flower server of a federation, on two ports.

    python -m aggregator.superlink --folder DIR --fleet-port 9443 --control-port 9444

It is the stock application of the pinned Flower version: TLS, only registered nodes, an executor
that must know a secret, an SQLite database. Around it stand five things of ours: the fleet port
answers fleet routes only, the control port is on loopback only, control calls need a bearer token,
a gate lets pulls wait (`aggregator.gate`), and one call may enclose what would take many
(`aggregator.enclosing`). DIR holds what `aggregator.places.Places` names; the
two secrets are made when they are missing. A taken port ends the program with one sentence and
exit code 2.
"""

import argparse
import asyncio
import contextlib
import hmac
import logging
import os
import signal
import socket
import sqlite3
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federation import at_rest
from federation.control.quiet import QUIET
from federation.control.supervise import exit_with_parent

os.environ.update(QUIET)
import anyio.to_thread
import uvicorn

# ---- PRIVATE flwr: pinned by tests/integration/test_flwr_contract.py -------------------------
from flwr.common.constant import (
    ISOLATION_MODE_PROCESS,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    TRANSPORT_TYPE_GRPC_RERE,
)
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
from flwr.superlink.auth_plugin import ControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app
from flwr.superlink.routers.control.middlewares import (
    ControlAuthenticationMiddleware,
    ControlEventLogMiddleware,
    ControlLicenseMiddleware,
    ControlSensitiveResponseMiddleware,
)
from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware

# ----------------------------------------------------------------------------------------------
from starlette.middleware import Middleware

from aggregator.enclosing import Enclosing
from aggregator.gate import Application, Gate, Receive, Scope, Send
from aggregator.places import Places, create_secrets

if TYPE_CHECKING:
    from flwr.supercore.auth.typing import AccountAuthCredentials, AccountAuthLoginDetails

FLEET_ROUTES = ("/v1/fleet/", "/health")
CONTROL_ROUTES = ("/v1/control/", "/v1/runtime/", "/health")
NEEDED_ON: Mapping[object, tuple[str, ...]] = {
    ControlSensitiveResponseMiddleware: ("/v1/control/",),
    ControlAuthenticationMiddleware: ("/v1/control/",),
    ControlLicenseMiddleware: ("/v1/control/",),
    ControlEventLogMiddleware: ("/v1/control/",),
    RuntimeTracingMiddleware: ("/v1/runtime/acquire-task", "/v1/runtime/pull-task-input"),
    NodeAuthMiddleware: ("/v1/fleet/",),
    FleetEventLogMiddleware: (),  # there is no fleet event log
}
"""Where each stock middleware does something. On all other routes it hands the request on as it
is, at a cost: passing all of them by there halves the server's work."""
_GRACE = 60.0
"""Seconds that runs and nodes get, after the server was down, to be heard again."""
_THREADS = 1
"""Threads of the handlers: they share one interpreter lock and one database, more are slower."""


class BearerToken(ControlAuthnPlugin):
    """Lets in whoever shows the token; Flower's open version knows one account for all of them."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Whether one of the values is the token, compared in constant time."""
        shown = [value.encode() if isinstance(value, str) else value for _, value in metadata]
        if any(hmac.compare_digest(value, self._token) for value in shown):
            return True, AccountInfo(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME)
        return False, None

    def get_login_details(self) -> "AccountAuthLoginDetails | None":
        """Nothing: there is no login."""
        return None

    def get_auth_tokens(self, device_code: str) -> "AccountAuthCredentials | None":  # noqa: ARG002
        """Nothing: there is no login."""
        return None

    def refresh_tokens(
        self,
        metadata: Sequence[tuple[str, str | bytes]],  # noqa: ARG002
    ) -> tuple[Sequence[tuple[str, str | bytes]] | None, AccountInfo | None]:
        """Nothing: the token does not expire."""
        return None, None


class _Server(uvicorn.Server):
    """A server that leaves signals to the loop it shares with another server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing changes."""
        yield


def only(app: Application, routes: tuple[str, ...]) -> Application:
    """The application with every route outside `routes` answering 404."""

    async def filtered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(routes):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return filtered


def pass_by(middleware: Middleware) -> Middleware:
    """The same middleware, not entered on routes where it would do nothing."""
    routes = NEEDED_ON.get(middleware.cls)
    if routes is None:
        return middleware

    def build(app: Application, *args: Any, **kwargs: Any) -> Application:
        entered = middleware.cls(app, *args, **kwargs)

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            needed = scope["type"] == "http" and scope["path"].startswith(routes)
            await (entered if needed else app)(scope, receive, send)

        return choose

    return Middleware(build, *middleware.args, **middleware.kwargs)


def give_grace(database: Path, seconds: float, now: datetime) -> None:
    """An outage of this server expires neither a run nor a node: all get `seconds` from `now`."""
    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        until = now + timedelta(seconds=seconds)
        connection.execute(
            "UPDATE task SET active_until = ? "
            "WHERE active_until IS NOT NULL AND finished_at IS NULL AND token IS NOT NULL",
            (until.isoformat(sep=" "),),
        )
        connection.execute(
            "UPDATE node SET online_until = ? WHERE status = 'online'", (until.timestamp(),)
        )


def compact(database: Path) -> None:
    """The file is no larger than twice what it holds; deleted messages leave holes in it."""
    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if 2 * connection.execute("PRAGMA freelist_count").fetchone()[0] > pages:
            connection.execute("VACUUM")


def build_app(places: Places, host: str, port: int) -> Application:
    """The stock application with our bearer token and, innermost, the gate and enclosures."""
    own = (places.ca, places.certificate)
    certificates = (*(path.read_bytes() for path in own), at_rest.read(places.certificate_key))
    config = SuperLinkLifespanConfig(
        control_address=f"{host}:{port}",
        health_server_address=None,
        host=host,
        port=port,
        insecure=False,
        certificates=(certificates[0], certificates[1], certificates[2]),
        superexec_auth_secret=at_rest.read(places.executor_secret),
        authn_plugin=BearerToken(at_rest.read(places.control_token).decode()),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(places.ca),
        ssl_certfile=str(places.certificate),
        ssl_keyfile=str(places.certificate_key),
        database=str(places.database),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    app = create_app(config, SuperLinkLifespan)
    stock = [pass_by(middleware) for middleware in app.user_middleware]
    app.user_middleware = [*stock, Middleware(Gate), Middleware(Enclosing)]  # the last is innermost
    return app


async def serve(places: Places, fleet: socket.socket, control: socket.socket) -> None:
    """The server has run on both sockets until SIGTERM or SIGINT came."""
    host, port = control.getsockname()
    app = build_app(places, host, port)
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    servers = [
        _Server(_config(places, only(app, CONTROL_ROUTES), lifespan=True)),
        _Server(_config(places, only(app, FLEET_ROUTES), lifespan=False)),
    ]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(servers[0].serve([control]), servers[1].serve([fleet]))


def _config(places: Places, app: Application, *, lifespan: bool) -> uvicorn.Config:
    with at_rest.loadable(places.certificate_key) as (key, password):
        config = uvicorn.Config(
            app,
            lifespan="on" if lifespan else "off",
            ssl_certfile=places.certificate,
            ssl_keyfile=key,
            ssl_keyfile_password=None if password is None else password.decode(),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        config.load()  # makes its TLS context, which has no setting for the oldest version
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return config


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        sys.stderr.write(f"Port {port} on {host} is taken; choose another ({error.strerror}).\n")
        raise SystemExit(2) from error
    return listener


def main(arguments: Sequence[str] | None = None) -> None:
    """The server has run until it was told to stop."""
    parser = argparse.ArgumentParser(prog="python -m aggregator.superlink", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--fleet-host", default="127.0.0.1")
    parser.add_argument("--fleet-port", type=int, required=True)
    parser.add_argument("--control-port", type=int, required=True)
    parser.add_argument("--grace", type=float, default=_GRACE, help="seconds after an outage")
    options = parser.parse_args(arguments)
    exit_with_parent()
    places = Places(options.folder)
    fleet = _bind(options.fleet_host, options.fleet_port)
    control = _bind("127.0.0.1", options.control_port)
    os.environ["FLWR_HOME"] = str(places.flower_home)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    create_secrets(places)
    compact(places.database)
    give_grace(places.database, options.grace, datetime.now(UTC))
    loop_factory = _config(places, _nothing, lifespan=False).get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(places, fleet, control))


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers nothing."""


if __name__ == "__main__":
    main()
