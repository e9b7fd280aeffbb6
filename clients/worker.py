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
from collections.abc import Callable
from pathlib import Path

from clients.books import Books
from clients.clock import Clock
from clients.commitments import Commitments
from clients.compute import Compute
from clients.errors import ClientError, NodeSettingsError
from clients.exports import Left
from clients.ingestion import Ingestion, open_windows
from clients.judgement import Judge
from clients.keyholding import Keyholding
from clients.node import Node
from clients.outbox import Outbox
from clients.policy import load_packs, load_policy
from clients.recording import Recorder
from clients.serve import ServeSettings, serve
from clients.settings import NodeSettings, load_settings
from clients.tables import conform_table, file_marks
from clients.vouching import Vouching
from clients.witnessing import Witnessing
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from federation.ledger.notes import origin_of
from policies.budget.account import scope_of, scopes_of
from policies.budget.units import require_own_files
from policies.errors import PolicyError
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.node_keys import load_node_key

UNREACHABLE = 20
USAGE = 2
UNTRUSTWORTHY = 30
"""The ledger is not the one that witnesses know, or nobody vouches for it."""


def build(
    settings: NodeSettings,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    halt: Callable[[], None] = lambda: None,
) -> Node:
    """Put a node together from its folder, having checked every part of it.

    Args:
        settings: the folder's.
        wall: the machine's clock.
        monotonic: seconds that nobody can set.
        halt: called when the node must end and not start again by itself; `Node.ended` says why.

    Raises:
        NodeSettingsError: a file is missing or unreadable.
        PolicyError: a contract or the policy is malformed, or a table is not what it promises.
        FederationError: the roster is not the federation's.
        LocalProtocolError: the key for the transport is missing or is no such key.
        BrokenBooksError: the books do not say what the log beside them says.
    """
    roster, contracts = settings.roster(), settings.contracts()
    if roster.find(settings.party).identity != settings.identity.verify_key:
        raise NodeSettingsError(
            f"keys/identity.key is not the key of {settings.party} on the roster; restore it"
        )
    for name, contract in contracts.items():
        scope_of(name, contracts.values())
        conform_table(contract, settings.table(contract))
    files = {c.table: file_marks(settings.table(c)) for c in contracts.values()}
    require_own_files(contracts.values(), files)
    _require_transport(settings)
    law, known = load_policy(settings.folder / "policy"), load_packs(settings.folder / "policy")
    outbox = Outbox(settings.folder / "outbox.sqlite")
    entropy = SystemEntropy()
    clock = Clock(wall, monotonic)
    books = Books(
        settings.folder / "books.sqlite",
        origin_of(settings.federation, settings.party),
        settings.identity,
        clock.now,
        {origin_of(roster.federation, m.party): m.organisation for m in roster.members},
    )
    books.reconcile()
    clock.never_before(books.highest_time())
    recorder = Recorder(settings, roster, books, law.digest, clock.now)
    recorder.began(contracts)
    commitments = Commitments(books, clock.now)
    ingestion = Ingestion(settings.folder, contracts.values(), entropy, commitments)
    open_windows(contracts.values(), books)
    for name in contracts:
        books.require_kinds(scopes_of(name, contracts.values(), books.windows()))
    for contract in contracts.values():
        ingestion.look(contract, settings.table(contract), books.windows())
    return Node(
        settings,
        roster,
        Judge(settings, roster, contracts, law, books, clock.now, Left(books), known),
        books,
        outbox,
        Compute(),
        Keyholding(settings, commitments),
        Witnessing(settings, roster, books, clock, entropy),
        Vouching(settings, roster, books, clock),
        recorder,
        ingestion,
        entropy,
        halt,
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
    stop = threading.Event()
    try:
        settings = load_settings(folder)
        node = build(settings, halt=stop.set)
        node.begin()
    except (ClientError, PolicyError, FederationError, SecureComputeError) as why:
        print(f"entrepot node: {why}", flush=True)  # noqa: T201  the supervisor passes it on
        return getattr(why, "exit_code", USAGE)
    capture = folder / "captures" / f"{settings.party}.cap" if settings.capture else None
    transport = ServeSettings(
        settings.address, settings.ca, folder / "keys" / "flower", folder, capture=capture
    )
    code = _served(transport, node, stop)
    if node.ended is not None:  # whatever else went wrong, it does not come back by itself
        print(f"entrepot node: {node.ended}", flush=True)  # noqa: T201
        return UNTRUSTWORTHY
    return code


def _served(transport: ServeSettings, node: Node, stop: threading.Event) -> int:
    """Answer requests until told to stop; return the exit code of whatever ended that."""
    try:
        serve(transport, node.answer, stop)
    except (ClientError, SecureComputeError) as why:
        if node.ended is None:
            print(f"entrepot node: {why}", flush=True)  # noqa: T201
        usual = UNREACHABLE if isinstance(why, ClientError) else USAGE
        return getattr(why, "exit_code", usual)
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
