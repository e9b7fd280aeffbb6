"""How a federation of many real nodes bears many orders and many rounds on one machine.

Every node is a process of its own with its supervisor, as at a partner; three hold keys, the others
are merchants with a small table each. Memory is what a process holds for itself alone (USS): what
fifty processes share counts once, at nobody. A node is measured before it has had any work, and
again in the course of a run of many rounds; what trains is a child process, which is not counted.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from aggregator.jobs import FINAL, Jobs
from experiments.bench_asking import orders, seats
from experiments.following import follow, require_done
from experiments.founding import FEWEST_KEYHOLDERS, found, free_ports
from experiments.home import Home
from experiments.local_fleet import wait_until
from experiments.ordering import Terms, query_order, sign, training_order
from experiments.running import up
from experiments.settings import compose_run
from policies.parties import PartyId

COHORT: Final = 4
SQL: Final = "SELECT SUM(LEAST(amount, 150)) AS revenue FROM orders"
SLOT: Final = 4_000
"""Milliseconds until answers leave: what nodes need on a machine that fifty of them share."""
_LIMITS: Final = {"orders": {"epsilon": "10", "delta": "1e-6"}}
_ROWS: Final = 200
_UP_SECONDS: Final = 900.0
_ORDER_SECONDS: Final = 60.0
_SETTLED: Final = 1 / 10
"""Part of a run's rounds after which what a process keeps for good is there."""


@dataclass(frozen=True, slots=True)
class Borne:
    """What was seen.

    up_s:     until all nodes had joined.
    private:  what the largest idle node holds for itself, its supervisor with it, bytes.
    done:     orders that came to an answer; asked: that were on the table together.
    orders_s: until the last of them had ended.
    growth:   most that a process grew over the rounds after the first tenth, bytes.
    handles:  by how many open handles one grew from the second tenth to the last, in the median: a
              server's connections come and go.
    """

    nodes: int
    up_s: float
    private: int
    asked: int
    done: int
    orders_s: float
    rounds: int
    growth: int
    handles: int


def measured(nodes: int, questions: int, rounds: int) -> Borne:
    """Return how so many nodes bear so many questions at once, and a run of so many rounds.

    Raises:
        ExperimentError: a process did not come up, or an order did not end.
    """
    with tempfile.TemporaryDirectory(prefix="entrepot-load-") as folder:
        home = _founded(Path(folder) / "federation", nodes)
        begun = time.monotonic()
        with up(home, _UP_SECONDS):
            came = time.monotonic() - begun
            private = _largest_node(home)
            done, seconds = _asked(home, questions)
            growth, handles = _trained(home, rounds)
        return Borne(nodes, came, private, questions, done, seconds, rounds, growth, handles)


def _founded(folder: Path, nodes: int) -> Home:
    home = found(folder, "load", seats(nodes - FEWEST_KEYHOLDERS), _LIMITS, free_ports())
    for number, member in enumerate(home.holders()):
        orders(number, _ROWS).to_parquet(home.node(member.party) / "data" / "orders.parquet")
    return home


def _asked(home: Home, questions: int) -> tuple[int, float]:
    """Lay all questions on the table at once; return how many were answered, and after how long."""
    holders = [member.party for member in home.holders()]
    jobs, ids, begun = Jobs(home.jobs), list[str](), time.monotonic()
    for number in range(questions):
        cohort = tuple(_circle(holders, number * COHORT, COHORT))
        terms = Terms(purpose="market_statistics", cohort=cohort, source="fresh", deadline=SLOT)
        order = query_order(home, f"{SQL} WHERE amount < {400 - number}", "0.05", terms)
        jobs.add(order.id, sign(home, order), time.time())
        ids.append(order.id)

    left = list(ids)

    def over() -> bool:
        while left and (job := jobs.find(left[-1])) and job.status in FINAL:
            left.pop()
        return not left

    wait_until(over, _ORDER_SECONDS * questions)
    ended = [job for name in ids if (job := jobs.find(name))]
    return sum(job.status == "done" for job in ended), time.monotonic() - begun


def _trained(home: Home, rounds: int) -> tuple[int, int]:
    """Train; return by how many bytes and handles a process grew at most once it had settled."""
    cohort = tuple(member.party for member in home.holders()[:COHORT])
    settings = compose_run("fraud", [f"model.rounds={rounds}", "privacy.epsilon=2"])
    terms = Terms(purpose=settings.terms.purpose, cohort=cohort)
    order = training_order(home, settings.task, terms)
    jobs = Jobs(home.jobs)
    jobs.add(order.id, sign(home, order), time.time())

    def reached(number: int) -> bool:
        job, last = jobs.find(order.id), jobs.last_round(order.id)
        ended = job is not None and job.status in FINAL
        return ended or (last is not None and last.round >= number)

    tenth, most = int(rounds * _SETTLED), _ORDER_SECONDS * rounds
    wait_until(lambda: reached(tenth), _UP_SECONDS)
    watched = _pids(home, "nodes/*/run/*.pid", "aggregator/run/*.pid")
    before, opened = _private(watched), _handles(watched, lambda: reached(2 * tenth), most)
    wait_until(lambda: reached(rounds - tenth), most)
    later = _handles(watched, lambda: reached(rounds), most)
    require_done(follow(jobs, order.id, lambda _: None))
    after = _private(watched)
    return (
        max(after[pid] - size for pid, size in before.items() if pid in after),
        max(later[pid] - count for pid, count in opened.items() if pid in later),
    )


def _circle(parties: Sequence[PartyId], first: int, count: int) -> Iterator[PartyId]:
    """Yield `count` parties from number `first` on, around the table."""
    for at in range(first, first + count):
        yield parties[at % len(parties)]


def _largest_node(home: Home) -> int:
    """Return what the largest node holds for itself, worker and supervisor together, bytes."""
    workers = _pids(home, "nodes/*/run/*.pid")
    both = ([pid, psutil.Process(pid).ppid()] for pid in workers)
    return max(sum(_private(pids).values()) for pids in both)


def _pids(home: Home, *patterns: str) -> list[int]:
    files = [path for pattern in patterns for path in sorted(home.folder.glob(pattern))]
    return [int(path.read_text(encoding="utf-8")) for path in files]


def _private(pids: Sequence[int]) -> dict[int, int]:
    """Return what each process holds for itself alone, bytes."""
    found = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found[pid] = int(psutil.Process(pid).memory_full_info().uss)
    return found


def _handles(pids: Sequence[int], over: Callable[[], bool], most: float) -> dict[int, int]:
    """Return how many handles each process has open until it is over, seconds at most: the median.

    pids of processes that end meanwhile are left out.
    """
    seen: dict[int, list[int]] = {pid: [] for pid in pids}

    def look() -> bool:
        for pid in list(seen):
            try:
                seen[pid].append(int(psutil.Process(pid).num_fds()))
            except psutil.NoSuchProcess:
                del seen[pid]
        return over()

    wait_until(look, most)
    return {pid: int(median(counts)) for pid, counts in seen.items()}
