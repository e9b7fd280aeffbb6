"""A whole federation on this machine: real processes, real noise, and the truth beside it.

    stage → start → train demand → train fraud → kill a keyholder → ask → be refused → stop →
    search → report

What the federation does and what the demo computes beside it are kept apart: baselines come from
the folders the demo wrote, in a process of their own, and never through a node.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from aggregator.jobs import Job, Jobs
from aggregator.key_pool import KeyPool
from aggregator.registry import load_model
from aggregator.stores import load_stores
from experiments.borders import crossings, read_captures
from experiments.canaries import count_raw_rows
from experiments.errors import BudgetExhaustedError, ExperimentError, UnreachableError
from experiments.explaining import note_time
from experiments.following import explain, follow, require_done
from experiments.home import Home
from experiments.measuring import Beside, Measured, read_measured, score_model
from experiments.notes import line
from experiments.opening import forget_key, released
from experiments.ordering import (
    Terms,
    published_contracts,
    query_order,
    sign,
    training_order,
)
from experiments.outcome import (
    Language,
    Node,
    Opened,
    Opening,
    Outcome,
    Query,
    Reason,
    Refusal,
    Scores,
    Text,
    Training,
    Unit,
)
from experiments.query_truth import beside, bounded_rows
from experiments.running import Fleet, running
from experiments.settings import compose
from experiments.showing import budget_of, query_of
from experiments.staging import Staged
from experiments.statements import statements
from experiments.terminal import Progress
from experiments.words import say
from federation.membership import THRESHOLD
from federation.orders import WorkOrder
from federation.queries.answers import read_answer
from federation.tasks import QueryTask, sums_of
from policies.parties import DATA_ROLES, PartyId, Role

QUERIES: Final = (
    (
        "SELECT category, COUNT(*) AS orders, SUM(LEAST(amount, 150)) AS revenue"
        " FROM orders GROUP BY category"
    ),
    "SELECT AVG(LEAST(amount, 150)) AS average_order FROM orders",
)
QUERY_EPSILON: Final = "0.5"
TOO_MUCH_EPSILON: Final = "6"
WITNESS_SECONDS: Final = 20.0
KEY_SECONDS: Final = 60.0
KILLED: Final = PartyId("keyholder-uk")
"""The keyholder that is killed once keys are made: the others open what is asked afterwards."""


@dataclass(slots=True)
class Stagehand:
    """One running federation and whoever watches it."""

    home: Home
    jobs: Jobs
    progress: Progress
    language: Language

    def perform(self, order: WorkOrder) -> Job:
        """Propose an order and see it through to its end, whatever that is."""
        began = time.monotonic()
        self.jobs.add(order.id, sign(self.home, order), time.time())
        job = follow(self.jobs, order.id, self._say)
        if job.status != "done":
            forget_key(self.home, order.id)  # nothing will ever be sealed to it
        note_time(self.jobs, order, job.result or {}, time.monotonic() - began)
        return job

    def _say(self, note: dict[str, Any]) -> None:
        if text := line(note, self.language):
            self.progress.note(text)


def play(
    staged: Staged, progress: Progress, language: Language, *, stay: bool, begun: float
) -> Outcome:
    """Run the whole demo on a staged federation and return what came out.

    Raises:
        BudgetExhaustedError: the books of an earlier demo leave too little.
    """
    home = staged.home
    with _measuring(staged) as measured, running(home, stay=stay) as fleet:
        with progress.step("start"):
            _start(fleet, progress)
        hand = Stagehand(home, Jobs(home.jobs), progress, language)
        with progress.step("keys"):
            keys = _wait_for_keys(home)
        nodes = _nodes(home)
        with progress.step("demand"):
            demand = _train(hand, staged, "demand")
        with progress.step("fraud"):
            fraud = _train(hand, staged, "fraud")
        with progress.step("kill"):
            fleet.kill_node(KILLED)
            progress.note(say("kill.note", language, party=KILLED, keys=keys))
        with progress.step("queries"):
            first = _ask(hand, query_order(home, QUERIES[0], QUERY_EPSILON, _terms()))
        with progress.step("refusals"):
            second, refused_query = _refused_then_fixed(hand)
            refused_run = _refused_run(hand)
        budgets = tuple(budget_of(row) for row in statements(home))
        with progress.step("baselines"):
            beside = measured.wait()
            _have_witnessed(hand.jobs)
        if stay:
            fleet.start_node(KILLED)
    with progress.step("captures"):
        frames = read_captures(home.folder)
        places = {str(member.party): str(member.jurisdiction) for member in home.roster().members}
        traffic, found = (
            crossings(frames, places),
            count_raw_rows(frames, home.truth / "canaries.json"),
        )
    return Outcome(
        demand=_scored(demand, beside.demand),
        fraud=_scored(fraud, beside.fraud),
        queries=(first.query, second.query),
        refusals=(refused_query, refused_run),
        budgets=budgets,
        nodes=nodes,
        traffic=traffic,
        search=found,
        seconds=time.monotonic() - begun,
        notes=staged.notes,
        version=version("entrepot"),
        opening=_opening(home, keys, (first, second)),
    )


def _have_witnessed(jobs: Jobs) -> None:
    """Wait until the last entries of all ledgers were cosigned, or for as long as that may take."""
    give_up = time.monotonic() + WITNESS_SECONDS
    while jobs.unwitnessed() and time.monotonic() < give_up:
        time.sleep(0.1)


def _start(fleet: Fleet, progress: Progress) -> None:
    fleet.start_aggregator()
    fleet.start_nodes()
    fleet.wait_joined(lambda *_: None)
    progress.note(f"aggregator, 8 nodes, {len(_keyholders(fleet.home))} keyholders")


def _wait_for_keys(home: Home) -> int:
    """Return how many keys were made ahead, once there are as many as the questions need.

    Raises:
        UnreachableError: the keyholders make none.
    """
    pool, give_up = KeyPool(load_stores(home.aggregator).keys), time.monotonic() + KEY_SECONDS
    while pool.ready < len(QUERIES):
        if time.monotonic() > give_up:
            raise UnreachableError(
                f"the keyholders made no keys within {KEY_SECONDS:.0f} s; see the logs of "
                f"{', '.join(_keyholders(home))}"
            )
        time.sleep(0.1)
    return pool.ready


def _keyholders(home: Home) -> tuple[PartyId, ...]:
    return tuple(member.party for member in home.roster().active(Role.KEYHOLDER))


def _opening(home: Home, keys: int, asked: tuple["_Asked", ...]) -> Opening:
    return Opening(
        threshold=THRESHOLD,
        keyholders=tuple(map(str, _keyholders(home))),
        killed=str(KILLED),
        keys=keys,
        questions=tuple(one.opened for one in asked),
    )


# -- training --------------------------------------------------------------------------------------


def _train(hand: Stagehand, staged: Staged, model: str) -> Training:
    settings = compose([f"experiment={model}", *staged.overrides[model]])
    until = staged.home.cut_us if model == "fraud" else 0
    order = training_order(hand.home, replace(settings.task, until=until), settings.terms)
    job = hand.perform(order)
    if job.status == "refused":
        raise _exhausted(hand, job)
    result = require_done(job)
    weights, _ = load_model(Path(result["model"]))
    rounds = [note["parties"] for _, note in hand.jobs.notes(job.id) if note["stage"] == "round"]
    scored = score_model(hand.home, settings.task, weights)
    sums = sums_of(order)
    return Training(
        overall=Scores(None, None, scored.overall, None, None),
        parties=scored.parties,
        epsilon=float(order.epsilon),
        delta=float(order.delta),
        unit=Unit.CUSTOMER if model == "fraud" else Unit.RETAILER_WEEK,
        data=staged.data[model],
        newcomer=staged.newcomer if model == "demand" else None,
        rounds=settings.task.recipe.rounds,
        survivors=tuple(len(parties) for parties in rounds),
        colluding=0 if sums is None else sums.colluding,
    )


def _exhausted(hand: Stagehand, job: Job) -> ExperimentError:
    refusals = (job.result or {})["refusals"]
    said = explain(refusals, hand.language)
    if {refusal["kind"] for refusal in refusals} != {"budget"}:
        return ExperimentError(said)
    left = "\n  ".join(
        f"{row.node} {row.dataset}: ε {row.epsilon:.2f} of {row.limit:.2f}, left {row.left:.2f}"
        for row in statements(hand.home)
    )
    return BudgetExhaustedError(f"{said}\nleft in the books:\n  {left}")


def _scored(training: Training, beside: Measured) -> Training:
    """Put the baselines beside what the federation reached."""
    parties = tuple(
        replace(row, scores=_beside(row.scores, beside.parties[row.party]))
        for row in training.parties
    )
    return replace(training, overall=_beside(training.overall, beside.overall), parties=parties)


def _beside(scores: Scores, baseline: Scores) -> Scores:
    return replace(baseline, federated_dp=scores.federated_dp)


# -- questions -------------------------------------------------------------------------------------


def _terms(**changes: Any) -> Terms:
    return replace(
        Terms(purpose="market_statistics", minimum=8, source="fresh", deadline=5_000), **changes
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with its answer, and how it was opened."""

    query: Query
    opened: Opened


def _ask(hand: Stagehand, order: WorkOrder) -> _Asked:
    begun = time.monotonic()
    job = hand.perform(order)
    require_done(job)
    done = time.monotonic()
    result = released(hand.home, hand.jobs, job)
    opened = Opened(
        by=tuple(result["opened_by"]),
        exchanges=int(result["exchanges"]),
        seconds=round(done - begun, 2),
        opening_ms=round(1000 * (time.monotonic() - done), 1),
    )
    task = QueryTask.from_json(order.parameters)
    answer = read_answer(result["answer"])
    contract = published_contracts()[order.contract]
    tables = [_table(hand.home, party, order.contract) for party in order.cohort]
    exact = beside(answer, bounded_rows(task.plan, contract, tables))
    return _Asked(query_of(task.sql, answer, exact, float(order.epsilon)), opened)


def _table(home: Home, party: PartyId, contract: str) -> Path:
    return home.node(party) / "data" / f"{contract}.parquet"


def _refused_then_fixed(hand: Stagehand) -> tuple[_Asked, Refusal]:
    """Ask under a legal basis that Chinese law does not know, then as the refusal suggests."""
    terms = _terms(legal_basis="legitimate_interest")
    job = hand.perform(query_order(hand.home, QUERIES[1], QUERY_EPSILON, terms))
    refusal = _refusal(job, "policy")
    name, _, value = _override(job).partition("=")
    fixed = query_order(hand.home, QUERIES[1], QUERY_EPSILON, _terms(**{name: value}))
    asked = _ask(hand, fixed)
    wish = f"{QUERIES[1]}  legal_basis=legitimate_interest"
    return asked, replace(refusal, asked=wish, passed=f"{QUERIES[1]}  {name}={value}")


def _refused_run(hand: Stagehand) -> Refusal:
    """Ask for more than any customer's account allows."""
    wish = f"privacy.epsilon={TOO_MUCH_EPSILON}"
    settings = compose(["experiment=fraud", wish])
    task = replace(settings.task, until=hand.home.cut_us)
    job = hand.perform(training_order(hand.home, task, settings.terms))
    return replace(_refusal(job, "budget"), asked=f"train fraud {wish}")


def _refusal(job: Job, kind: str) -> Refusal:
    refusals = [r for r in (job.result or {}).get("refusals", []) if r["kind"] == kind]
    if job.status != "refused" or not refusals:
        raise ExperimentError(f"an order that had to be refused ended as {job.status}")
    first = refusals[0]
    return Refusal(
        node=first["node"],
        kind="policy" if kind == "policy" else "budget",
        reasons=tuple(
            Reason(reason["id"], Text(reason["en"], reason["zh"]), reason["law"])
            for reason in first["reasons"]
        ),
        fix=Text(
            "; ".join(fix["en"] for fix in first["fixes"]),
            "; ".join(fix["zh"] for fix in first["fixes"]),
        ),
    )


def _override(job: Job) -> str:
    refusals = (job.result or {})["refusals"]
    overrides = {fix["override"] for refusal in refusals for fix in refusal["fixes"]} - {""}
    (override,) = overrides
    return str(override)


# -- books -----------------------------------------------------------------------------------------


def _nodes(home: Home) -> tuple[Node, ...]:
    shown = (*DATA_ROLES, Role.KEYHOLDER, Role.AGGREGATOR)
    return tuple(
        Node(member.party, member.role, member.jurisdiction, _pid(home, member.party))
        for member in home.roster().active(*shown)
    )


def _pid(home: Home, party: PartyId) -> int | None:
    folder = home.aggregator if (home.aggregator / "nodes" / party).exists() else home.node(party)
    name = "node.pid" if folder != home.aggregator else "superlink.pid"
    if not folder.exists():
        folder, name = home.aggregator, "superlink.pid"
    try:
        return int((folder / "run" / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# -- beside the federation -------------------------------------------------------------------------


@dataclass(slots=True)
class _Measuring:
    process: "subprocess.Popen[bytes]"
    result: Path

    def wait(self) -> Beside:
        if self.process.wait() != 0:
            raise ExperimentError(
                f"computing the baselines failed; see {self.result.with_suffix('.log')}"
            )
        return read_measured(self.result)


@contextmanager
def _measuring(staged: Staged) -> Iterator[_Measuring]:
    """Compute the baselines in a process of their own while the federation works."""
    result = staged.home.folder / "beside.json"
    with result.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.measuring", str(staged.home.folder), str(result)],
            stdout=log,
            stderr=log,
        )
    try:
        yield _Measuring(process, result)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
