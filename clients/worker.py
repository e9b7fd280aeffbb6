"""The node's working process; `entrepot node run` keeps it alive.

    python -m clients.worker --folder DIR

Whatever is wrong with the folder ends it with exit code 2 and one sentence, before a connection is
made. Whatever goes wrong later is this process's end and its supervisor's next start.
"""

import argparse
import logging
import ssl
import sys
import threading
import time
from pathlib import Path

from clients.books import Books
from clients.compute import Compute
from clients.errors import ClientError, NodeSettingsError
from clients.judgement import Judge
from clients.keyholding import Keyholding
from clients.node import Node
from clients.outbox import Outbox
from clients.policy import load_policy
from clients.serve import ServeSettings, serve
from clients.settings import NodeSettings, load_settings
from clients.tables import conform_table
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from policies.budget.account import scope_of
from policies.errors import PolicyError
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.node_keys import load_node_key

UNREACHABLE = 20
USAGE = 2


def build(settings: NodeSettings) -> Node:
    """Put a node together from its folder, having checked every part of it.

    Raises:
        NodeSettingsError: a file is missing or unreadable.
        PolicyError: a contract or the policy is malformed, or a table is not what it promises.
        FederationError: the roster is not the federation's.
        LocalProtocolError: the key for the transport is missing or is no such key.
    """
    roster, contracts = settings.roster(), settings.contracts()
    if roster.find(settings.party).identity != settings.identity.verify_key:
        raise NodeSettingsError(
            f"keys/identity.key is not the key of {settings.party} on the roster; restore it"
        )
    for name, contract in contracts.items():
        scope_of(name, contracts.values())
        conform_table(contract, settings.table(contract))
    _require_transport(settings)
    books = Books(settings.folder / "books.sqlite")
    law = load_policy(settings.folder / "policy")
    return Node(
        settings,
        roster,
        Judge(settings, roster, contracts, law, books, time.time),
        books,
        Outbox(settings.folder / "outbox.sqlite"),
        Compute(),
        Keyholding(settings),
        SystemEntropy(),
    )


def _require_transport(settings: NodeSettings) -> None:
    load_node_key(settings.folder / "keys" / "flower")
    try:
        ssl.create_default_context(cafile=settings.ca)
    except OSError as why:  # an SSLError is one too
        raise NodeSettingsError(
            f"{settings.ca} is missing or holds no certificate; ask the aggregator for its ca.crt"
        ) from why


def run(folder: Path) -> int:
    """Serve until told to stop; return the exit code."""
    try:
        settings = load_settings(folder)
        node = build(settings)
        node.close_expired(starting=True)
    except (NodeSettingsError, PolicyError, FederationError, SecureComputeError) as why:
        print(f"entrepot node: {why}", flush=True)  # noqa: T201  the supervisor passes it on
        return USAGE
    capture = folder / "captures" / f"{settings.party}.cap" if settings.capture else None
    transport = ServeSettings(
        settings.address, settings.ca, folder / "keys" / "flower", folder, capture=capture
    )
    try:
        serve(transport, node.answer, threading.Event())
    except SecureComputeError as why:
        print(f"entrepot node: {why}", flush=True)  # noqa: T201
        return USAGE
    except ClientError as why:
        print(f"entrepot node: {why}", flush=True)  # noqa: T201
        return getattr(why, "exit_code", UNREACHABLE)
    return 0


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m clients.worker", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    exit_with_parent()
    sys.exit(run(parser.parse_args().folder.resolve()))


if __name__ == "__main__":
    main()
