"""The fault table: every process is killed (-9) at every step of a question, a run and a joining.

    python -m experiments.faults > experiments/FAULTS.md

Then clocks, disks and networks fail, and machines are away for an hour: see `mishaps`.

Eight nodes, an aggregator's server and executor run as they do at partners, each under its
supervisor. An order is laid on the table; once the executor has noted the step, the process of the
cell is killed; the order then has to end, done or abandoned with a reason, and the process has to
be back. Afterwards the books of every node are laid beside what it sent, as its capture has it:

    left     answers from its rows that left it
    lost     those of them that were never charged
    double   releases of which two different answers left
    reused   keys of joint questions that opened two of them

An answer is captured before it is sent, so what was captured counts as sent.
"""

import argparse
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Final

from aggregator.jobs import FINAL, Job, Jobs
from aggregator.key_pool import KeyPool
from aggregator.stores import load_stores
from experiments.bench_asking import orders
from experiments.fault_joins import JOIN_CELLS, came_in
from experiments.following import follow
from experiments.founding import DEMO_SEATS, LOOPBACK, found, free_ports
from experiments.home import Home
from experiments.local_fleet import wait_until
from experiments.machines import BRIDGE, Machines, enter, why_not
from experiments.mishaps import Mishaps
from experiments.mishaps import places as mishap_places
from experiments.ordering import Terms, query_order, sign, training_order
from experiments.running import up
from experiments.settings import compose_run
from federation.control.captures import read_capture
from federation.envelopes import Envelope, parse
from federation.messages import OWN_FIGURES
from federation.orders import WorkOrder
from federation.riding import RIDING
from policies.parties import Role

SERVER, EXECUTOR = "aggregator/run/superlink.pid", "aggregator/run/executor.pid"
NODE, KEYHOLDER = "nodes/merchant-uk/run/node.pid", "nodes/keyholder-ch/run/node.pid"
KILL: Final = "kill -9"
PROCESSES: Final = {
    "server": SERVER,
    "executor": EXECUTOR,
    "node": NODE,
    "keyholder": KEYHOLDER,
}
QUESTION_STEPS: Final = ("laid down", "offered", "committed", "endorsed", "revealed")
ROUNDS: Final = 4
RUN_STEPS: Final = ("laid down", "offered", *(f"round {at}" for at in range(1, ROUNDS + 1)))
SQL: Final = "SELECT SUM(LEAST(amount, 150)) AS revenue FROM orders WHERE amount < {}"
SLOT: Final = 3_000
"""Milliseconds that nodes have for their answers, also beside a process that starts again."""

_LIMITS: Final = {"orders": {"epsilon": "10", "delta": "1e-6"}}
UP_SECONDS: Final = 300.0
_END_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What books and captures say together of one order; see above."""

    left: int
    lost: int
    double: int
    reused: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault, and what came of the order: its status, and the reason where it is not `done`."""

    protocol: str
    step: str
    process: str
    came: str
    reason: str
    seen: Seen
    fault: str = KILL


def table(tell: Callable[[Cell], object] = lambda _: None) -> list[Cell]:
    """Return the table of kills, each cell told as it is made.

    Raises:
        ExperimentError: a process did not come (back) up, or an order did not end.
    """
    with tempfile.TemporaryDirectory(prefix="entrepot-faults-") as folder:
        home = founded(Path(folder) / "federation")
        cells = []
        with up(home, UP_SECONDS):
            for number, (protocol, step, process) in enumerate(places()):
                kill = partial(_kill, home.folder / PROCESSES.get(process, ""))
                cells.append(struck(home, number, (protocol, step, process), kill))
                tell(cells[-1])
    return cells


def other_table(tell: Callable[[Cell], object] = lambda _: None) -> list[Cell]:
    """Return the table of what befalls machines, each cell told as it is made.

    Raises:
        ExperimentError: a process did not come (back) up, or an order did not end.
    """
    with tempfile.TemporaryDirectory(prefix="entrepot-mishaps-") as folder:
        home = founded(Path(folder) / "federation", BRIDGE)
        machines, cells = Machines(home), []
        mishaps = Mishaps(home, machines)
        with machines.lasting(), up(home, UP_SECONDS, machines.around):
            for number, (mishap, *place) in enumerate(mishap_places()):
                with mishaps.befalling(mishap, place[-1]) as strike:
                    cell = struck(home, number, (place[0], place[1], place[2]), strike)
                cells.append(replace(cell, fault=mishap))
                tell(cells[-1])
    return cells


def places() -> list[tuple[str, str, str]]:
    """Return protocol, step and process of every cell; no keyholder takes part in a run.

    Who comes in changes the roster, which every node takes up: that goes last.
    """
    without = [process for process in PROCESSES if process != "keyholder"]
    return [
        *(("question", *at) for at in product(QUESTION_STEPS, PROCESSES)),
        *(("run", *at) for at in product(RUN_STEPS, without)),
        *(("join", *at) for at in JOIN_CELLS),
    ]


def founded(folder: Path, host: str = LOOPBACK) -> Home:
    """Return a federation of payment partners and merchants with small tables, not running."""
    seats = tuple(seat for seat in DEMO_SEATS if seat.role is not Role.WAREHOUSE)
    home = found(folder, "faults", seats, _LIMITS, replace(free_ports(), host=host))
    for number, member in enumerate(home.holders()):
        orders(number, 400).to_parquet(home.node(member.party) / "data" / "orders.parquet")
    return home


def struck(
    home: Home, number: int, place: tuple[str, str, str], strike: Callable[[], object]
) -> Cell:
    """Let something happen once an order, or a joining, has come to a step; return what came of it.

    place: the protocol, its step, and whom the fault strikes.
    """
    protocol, step, process = place
    if protocol == "join":
        came = came_in(home, number, step, process, lambda _: strike())
        return Cell(*place, came, "", Seen(0, 0, 0, 0))
    pool = KeyPool(load_stores(home.aggregator).keys)
    if protocol == "question":  # a key that lies ready, so that the fault meets the question
        wait_until(lambda: pool.ready > 0 and pool.begun() is None, UP_SECONDS)
    order = _question(home, number) if protocol == "question" else _run(home, number)
    jobs = Jobs(home.jobs)
    jobs.add(order.id, sign(home, order), time.time())
    wait_until(lambda: _reached(jobs, order, step), _END_SECONDS)
    strike()
    job = follow(jobs, order.id, lambda _: None, _END_SECONDS)
    return Cell(*place, job.status, _reason(job), evidence(home, order.id))


def _question(home: Home, number: int) -> WorkOrder:
    terms = Terms(purpose="market_statistics", source="fresh", deadline=SLOT)
    return query_order(home, SQL.format(400 - number), "0.05", terms)


def _run(home: Home, number: int) -> WorkOrder:
    words = [f"model.rounds={ROUNDS}", "model.moments=2", "privacy.epsilon=0.5"]
    settings = compose_run("fraud", [*words, f"seed={number}"])
    return training_order(home, settings.task, settings.terms)


def _reached(jobs: Jobs, order: WorkOrder, step: str) -> bool:
    notes = [note for _, note in jobs.notes(order.id)]
    rounds = [note.get("round", 0) for note in notes if note["stage"] == "round"]
    job = jobs.find(order.id)
    return (
        step == "laid down"
        or any(note["stage"] == step for note in notes)
        or (step.startswith("round") and max(rounds, default=0) >= int(step.split()[1]))
        or (job is not None and job.status in FINAL)
    )


def _kill(path: Path) -> None:
    """Kill the process that stands in the file, and wait until its supervisor has another."""
    before = _recorded(path)
    with suppress(ProcessLookupError):
        os.kill(before, signal.SIGKILL)
    wait_until(lambda: _recorded(path) not in {0, before}, UP_SECONDS)


def _recorded(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _reason(job: Job) -> str:
    return "" if job.status == "done" else str((job.result or {}).get("error", ""))


# -- what is looked at afterwards ------------------------------------------------------------------


def evidence(home: Home, order: str) -> Seen:
    """Return what the folders of all nodes say of one order together."""
    nodes = sorted((home.folder / "nodes").iterdir())
    told = [beside(node, order) for node in nodes]
    return Seen(*(sum(getattr(one, name) for one in told) for name in Seen.__slots__))


def beside(node: Path, order: str) -> Seen:
    """Return what the folder of one node says of an order."""
    left = answers(_captured(node / "captures"), order)
    return Seen(
        left=len(left),
        lost=max(0, len(left) - _charged(node / "books.sqlite", order)),
        double=sum(len(different) > 1 for different in left.values()),
        reused=_reused(node / "keys.sqlite"),
    )


def answers(sent: Iterable[Envelope], order: str) -> dict[tuple[str, int], set[bytes]]:
    """Return what of a node's own figures left for an order, by kind and round: their digests.

    What of the ledgers rides in a letter is another each time, and no figure.
    """
    found: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for envelope in sent:
        if envelope.order == order and envelope.kind in OWN_FIGURES:
            own = [blob for name, blob in sorted(envelope.blobs.items()) if name not in RIDING]
            if own:
                found[envelope.kind.value, envelope.sequence].add(sha256(b"".join(own)).digest())
    return found


def _captured(folder: Path) -> Iterator[Envelope]:
    for path in sorted(folder.glob("*.cap")):
        yield from map(parse, read_capture(path))


def _charged(books: Path, order: str) -> int:
    return _count(books, "SELECT COUNT(*) FROM settlements WHERE order_id = ?", order)


def _reused(keys: Path) -> int:
    return _count(keys, "SELECT COUNT(*) - COUNT(DISTINCT key) FROM openings")


def _count(path: Path, sql: str, *words: str) -> int:
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute(sql, words).fetchone()[0])
    except sqlite3.OperationalError:  # no such table: this node holds no keys
        return 0


# -- for people ------------------------------------------------------------------------------------


def markdown(cells: Sequence[Cell]) -> str:
    """Return the table as it stands in the repository."""
    kills = [cell for cell in cells if cell.fault == KILL]
    others = [cell for cell in cells if cell.fault != KILL]
    parts = [_KILLS, _told(kills, "kills")]
    if others:
        parts += [_OTHERS, _told(others, "mishaps")]
    return "\n".join(parts)


_KILLS: Final = """\
# Fault table

Made by `python -m experiments.faults`: real processes, each killed with `kill -9` at
each step of a joint question, of a training run and of a party's joining, and started
again by its supervisor; a person whose command was killed runs it again.
`left`: answers from rows that left the nodes; every one of them has to be charged once.
"""
_OTHERS: Final = """\
## What else befalls machines

A clock ten minutes fast, a disk whose every fsync takes 200 ms longer, a network cut for ten
seconds, and an hour that goes by on every clock while one machine stands still.
"""


def _told(cells: Sequence[Cell], what: str) -> str:
    came = Counter(cell.came for cell in cells)
    lines = [
        f"{len(cells)} {what}; "
        + ", ".join(f"{count} {status}" for status, count in sorted(came.items()))
        + f"; {sum(cell.seen.lost for cell in cells)} spends lost, "
        f"{sum(cell.seen.double for cell in cells)} releases twice, "
        f"{sum(cell.seen.reused for cell in cells)} keys used twice.",
        "",
        "| order | after | fault | whose | the order | left | lost | double | reused |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        seen = cell.seen
        came_to = f"{cell.came}: {cell.reason}" if cell.reason else cell.came
        words = (cell.protocol, cell.step, cell.fault, cell.process, came_to.replace("|", "/"))
        figures = map(str, (seen.left, seen.lost, seen.double, seen.reused))
        lines.append(f"| {' | '.join([*words, *figures])} |")
    return "\n".join(lines) + "\n"


def _tell(cell: Cell) -> None:
    words = f"{cell.protocol}, {cell.step}, {cell.fault}, {cell.process}: {cell.came} {cell.reason}"
    print(words, file=sys.stderr, flush=True)


def _everything() -> list[Cell]:
    cells = table(_tell)
    if why := why_not():
        print(f"clocks, disks and networks were left alone: {why}", file=sys.stderr)
        return cells
    return [*cells, *other_table(_tell)]


def main(words: Sequence[str] | None = None) -> None:
    """Make the whole table and print it; with --help, only say that it would."""
    argparse.ArgumentParser(
        prog="python -m experiments.faults",
        description="Make the fault table, which takes about half an hour: kill every process of a "
        "federation on this machine at every step of a question, a run and a joining; where "
        "network namespaces are permitted, also let clocks, disks and networks fail.",
        epilog="The table, in Markdown, goes to stdout: `> experiments/FAULTS.md` keeps it. Each "
        "cell is told on stderr as it ends.",
    ).parse_args(words)
    if not why_not():
        enter(["-m", "experiments.faults"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no federation is left running
    sys.stdout.write(markdown(_everything()))


if __name__ == "__main__":
    main()
