"""The node's working process; `entrepot node run` keeps it alive.

    python -m clients --folder DIR

Whatever is wrong with the folder ends it with exit code 2 and one sentence, before a connection is
made. Whatever goes wrong later is this process's end and its supervisor's next start.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

from clients import renewal, snapshots, turned_away
from clients.answer_store import AnswerStore
from clients.answering import Answering
from clients.approvals import Approvals
from clients.books import Books
from clients.both import serve_both
from clients.certificate import stream_settings
from clients.checking import is_leaving, sound
from clients.clock import Clock
from clients.commitments import Commitments
from clients.compute import Compute
from clients.copies import Copies
from clients.errors import ClientError
from clients.exports import Left
from clients.inbox import Inbox
from clients.ingestion import Ingestion, open_windows
from clients.judgement import Judge
from clients.key_pool import KeyPool
from clients.key_store import KeyStore
from clients.matching import Matching
from clients.node import Node
from clients.once import is_of_the_moment
from clients.opening import Opener
from clients.outbox import Outbox
from clients.patience import NotRegisteredError
from clients.persons import Persons
from clients.queries.partial import AHEAD
from clients.questions import Questions
from clients.recording import Recorder
from clients.regaining import take_over
from clients.rosters import LEAVING, Rosters
from clients.rotation import hand_over, settle
from clients.sealed import SealedOnce
from clients.serve import ServeSettings
from clients.settings import NodeSettings, load_settings
from clients.slots import Slots
from clients.succession import Reign, Succession
from clients.summing import Summing
from clients.vouching import Vouching
from clients.witnessing import Witnessing
from federation.control.captures import Capture, captures
from federation.control.logs import begin_logging
from federation.control.supervise import exit_with_parent
from federation.errors import FederationError
from federation.ledger.notes import origin_of
from federation.secure_sums import signers
from policies.budget.account import scopes_of
from policies.contracts import DataContract
from policies.errors import PolicyError
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.kept import forget_keys

UNREACHABLE = 20
USAGE = 2
UNTRUSTWORTHY = 30
"""The ledger is not the one that witnesses know, or nobody vouches for it."""


def build(
    settings: NodeSettings,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    halt: Callable[[], None] = lambda: None,
    slots: Slots | None = None,
    compute: Compute | None = None,
) -> Node:
    """Put a node together from its folder, having checked every part of it, and begin its ledger.

    This is a start: what changed since the last one is written down. `clients.checking` only looks.

    Args:
        settings: the folder's.
        wall: the machine's clock.
        monotonic: seconds that nobody can set.
        halt: called when the node is over; `Node.ended` says why none may follow it by itself, and
            is None where the next one only takes up a newer roster.
        slots: when answers made from rows leave; None for the machine's own time.
        compute: where it trains; None for a child process of its own.

    Raises:
        NodeSettingsError, PolicyError, FederationError, LocalProtocolError: see `checking.sound`.
        LostBooksError: the identity key was lost, and so are the books.
        BrokenBooksError: the books do not say what the log beside them says.
    """
    snapshots.begin(settings)
    renewal.take_up(settings.folder)
    found = sound(settings)
    clock = Clock(wall, monotonic)
    settle(settings, found.roster)
    hand_over(settings, found.roster, clock.now)
    take_over(settings, found.roster, clock.now)
    forget_keys()  # those that were given up just now
    roster, contracts = found.roster, found.contracts
    outbox = Outbox(settings.folder / "outbox.sqlite")
    entropy = SystemEntropy()
    books = Books(
        settings.books,
        origin_of(settings.federation, settings.party),
        settings.identity,
        clock.now,
        {
            origin_of(roster.federation, m.party): m.organisation
            for m in (*roster.former, *roster.members)
        },
    )
    books.reconcile()
    clock.never_before(books.highest_time())
    recorder = Recorder(settings, roster, books, found.law.digest, clock.now)
    commitments = Commitments(books, clock.now)
    ingestion = Ingestion(settings.folder, contracts.values(), entropy, commitments)
    copies = Copies(settings.folder)
    _begin(settings, contracts, books, recorder, ingestion, copies)
    folder, keys = settings.folder, KeyStore(settings.folder / "keys.sqlite")
    approvals = Approvals(settings.folder)
    witnessing = Witnessing(settings, roster, books, clock, entropy)
    keys.retire_others(signers(roster).digest)
    vouched = witnessing.require_entry_witnessed
    return Node(
        settings,
        roster,
        Judge(
            settings,
            roster,
            contracts,
            found.law,
            books,
            Questions(settings.folder / "outbox.sqlite", roster),
            clock.now,
            Left(books),
            found.packs,
            Persons(settings, approvals, books),
        ),
        books,
        outbox,
        compute or Compute(),
        Answering(settings, roster, AnswerStore(folder / "answers.sqlite", settings.party)),
        KeyPool(settings, roster, keys, entropy),
        Opener(settings, roster, keys, entropy, commitments),
        witnessing,
        Vouching(settings, roster, books, clock),
        recorder,
        Rosters(settings, roster, books, clock.now),
        ingestion,
        copies,
        Summing(settings, roster, entropy, clock.now),
        Matching(settings, roster, approvals, commitments, vouched, entropy),
        approvals,
        entropy,
        slots or Slots(),
        halt,
    )


def _begin(
    settings: NodeSettings,
    contracts: Mapping[str, DataContract],
    books: Books,
    recorder: Recorder,
    ingestion: Ingestion,
    copies: Copies,
) -> None:
    """What has changed since the last start stands in the ledger, and every row has a window."""
    recorder.began(contracts)
    open_windows(contracts.values(), books)
    for name in contracts:
        books.require_kinds(scopes_of(name, contracts.values(), books.windows()))
    copies.begin(contracts.values())
    for contract in contracts.values():
        table = settings.table(contract)
        copies.of(contract, table, ingestion.look(contract, table, books.windows()))


def run(folder: Path) -> int:
    """Serve until told to stop; return the exit code."""
    stop = threading.Event()
    try:
        settings = load_settings(folder)
        capture = captures(folder, settings.party) if settings.capture else (None, None)
        succession = _succession(folder, capture[0], stop)
        AHEAD.keep_ready()
    except (ClientError, PolicyError, FederationError, SecureComputeError) as why:
        print(f"entrepot node: {why}", flush=True)  # noqa: T201  the supervisor passes it on
        return getattr(why, "exit_code", USAGE)
    renewal.begin_renewing(settings, stop)
    code = _served(settings, succession, capture[1], stop)
    AHEAD.let_go()  # one left at the end makes its library complain at length
    if succession.ended is not None:  # whatever else went wrong, it does not come back by itself
        print(f"entrepot node: {succession.ended}", flush=True)  # noqa: T201
        return UNTRUSTWORTHY
    return code


def _succession(folder: Path, signed: Capture | None, stop: threading.Event) -> Succession:
    """Return the node in the folder, and whoever follows it there; errors: `build`.

    signed: every answer is written there before it is sealed.
    """
    compute, inbox = Compute(), cache(lambda: Inbox(folder / "outbox.sqlite"))

    def reign(halt: Callable[[], None]) -> Reign:
        settings = load_settings(folder)
        node = build(settings, halt=halt, compute=compute)
        node.begin()
        memory, roster = inbox(), node.roster
        once = SealedOnce(node.answer, memory, is_of_the_moment, settings, roster, signed)
        return Reign(node, once)

    return Succession(reign, stop)


def _served(
    settings: NodeSettings, succession: Succession, capture: Capture | None, stop: threading.Event
) -> int:
    """Answer requests until told to stop; return the exit code of whatever ended that."""
    folder = settings.folder
    flower = ServeSettings(
        settings.address,
        settings.ca,
        folder / "keys" / "flower",
        folder,
        capture=capture,
        leaving=partial(is_leaving, settings),
    )
    try:
        serve_both(flower, stream_settings(settings, capture), succession, stop)
    except (ClientError, FederationError, SecureComputeError) as why:
        if isinstance(why, NotRegisteredError) and (folder / LEAVING).exists():
            turned_away.note(folder, "flower")  # so that `node leave` knows it, asked again
            print(f"entrepot node: {settings.party} has left; nothing is to be run", flush=True)  # noqa: T201
            return USAGE
        if succession.ended is None:
            print(f"entrepot node: {why}", flush=True)  # noqa: T201
        usual = UNREACHABLE if isinstance(why, ClientError) else USAGE
        return getattr(why, "exit_code", usual)
    return 0


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m clients", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    begin_logging()
    exit_with_parent()
    sys.exit(run(parser.parse_args().folder.resolve()))


if __name__ == "__main__":
    main()
