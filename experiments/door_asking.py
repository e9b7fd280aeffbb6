"""A joint question that is asked through the people's door, and its answer, opened here.

The order carries the public half of the key. The aggregator carries boxes that it cannot open, and
is told nothing of what was in them. Rows that it could have written itself are not taken: an answer
comes sealed, or is one that was opened here before. What lies here: `experiments.kept_questions`.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from aggregator.jobs import FINAL
from clients.calling import NotAllowedError
from experiments.errors import (
    IntegrityError,
    PolicyRefusalError,
    UnreachableError,
    UsageError,
    WaitingError,
)
from experiments.explaining import paid
from experiments.fetching import fetched
from experiments.following import QUEUE_SECONDS, AbandonedRunError
from experiments.home import Home
from experiments.kept_questions import came_to_nothing, file_of, keep, past_release, tidy
from experiments.opening import forget_key, opened
from experiments.ordering import sign
from experiments.peoples_door import Me
from federation.kept_answers import KeptAnswer
from federation.orders import WorkOrder, read_order
from federation.tasks import QueryTask
from federation.whole_files import keep_file
from secure_compute.canonical import JSON

POLL_SECONDS: Final = 0.5
FEWEST_DIGITS: Final = 8

Told = Callable[[str], None]


def renew(me: Me, home: Home) -> None:
    """Keep the roster as the aggregator has it today, if it goes on from the one that is here.

    Raises:
        UsageError: whoever is logged in is of another federation than this folder.
        ForkedRosterError, OlderRosterError, UntrustedRosterError: see `Home.roster`.
    """
    if me.federation != home.name:
        raise UsageError(f"you log in at {me.federation}, and {home.folder} is of {home.name}")
    chain = me.ask("Roster", chain=True).get("chain")
    try:
        home.take_chain(bytes.fromhex(str(chain)))
    except ValueError as why:
        raise UsageError("the aggregator answers in another version's form") from why


def ask(me: Me, home: Home, order: WorkOrder, tell: Told) -> dict[str, Any]:
    """Return the answer to an order whose key lies here, as the JSON of `entrepot person ask`.

    Raises:
        ExperimentError: it was refused or abandoned, or waits; the message says what to do.
        ClientError: see `clients.calling`.
    """
    tidy(home, time.time())
    wire = sign(home, order)
    keep_file(file_of(home, order.id, "order"), wire)
    me.ask("Propose", order=wire.hex())
    return _seen_through(me, home, order, tell)


def put(me: Me, home: Home) -> Callable[[Mapping[str, bytes]], None]:
    """Return what lays signed questions on the aggregator's table, where `resume` finds each."""

    def lay(wires: Mapping[str, bytes]) -> None:
        for order, wire in wires.items():
            keep_file(file_of(home, order, "order"), wire)
        me.propose(wires)

    return lay


def resume(me: Me, home: Home, run: str, tell: Told) -> dict[str, Any]:
    """Return the answer to a question that was asked from here; nothing is paid twice.

    One that was lost on its way is put on the table now.

    Raises:
        UsageError: none was whose id begins so, or several were.
        ExperimentError, ClientError: see `ask`.
    """
    known = sorted((home.people / "answers").glob("*.order"))
    found = [path for path in known if path.name.startswith(run)]
    if len(found) != 1 or len(run) < FEWEST_DIGITS:
        raise UsageError(
            f"no one question that was asked from here begins with {run!r}; give the first "
            f"{FEWEST_DIGITS} or more digits that `person ask` printed"
        )
    wire = found[0].read_bytes()
    order = read_order(wire)
    kept = file_of(home, order.id, "json")
    if kept.exists():
        forget_key(home, order.id)  # a crash may have come between the two
        return dict(json.loads(kept.read_text("utf-8")))
    try:
        me.ask("Order", order=order.id)
    except NotAllowedError:  # it never came there
        me.ask("Propose", order=wire.hex())
    return _seen_through(me, home, order, tell)


def _seen_through(me: Me, home: Home, order: WorkOrder, tell: Told) -> dict[str, Any]:
    _require_done(home, order, _followed(me, order.id, tell))
    try:
        value = _answered(me, home, order)
    except (KeyError, ValueError) as why:
        raise IntegrityError("the aggregator hands out what is no answer") from why
    keep(home, value)
    return value


def _followed(me: Me, run: str, tell: Told) -> dict[str, Any]:
    """Return the order as it is shown once it has ended, or waits for people."""
    said, give_up = "", time.monotonic() + QUEUE_SECONDS
    while True:
        found = me.ask("Order", order=run)
        status, stage = str(found.get("status")), str(found.get("stage"))
        if said != (said := f"{status}: {stage}" if stage else status):
            tell(said)
        if status in FINAL or status == "waiting":
            return found
        if status == "queued" and time.monotonic() > give_up:
            raise UnreachableError(
                f"nobody takes the question up; it stays queued, and --resume {run[:12]} waits on"
            )
        time.sleep(POLL_SECONDS)


def _require_done(home: Home, order: WorkOrder, found: dict[str, JSON]) -> None:
    """Return if there is an answer."""
    status, run = found["status"], order.id[:12]
    if status == "waiting":
        raise WaitingError(
            f"question {run} waits for people and goes on by itself; --resume {run} shows what "
            "came of it"
        )
    if status == "done":
        return
    came_to_nothing(home, order, time.time())
    if status == "refused":
        raise PolicyRefusalError(
            f"nodes declined question {run} ({found.get('declined')} of {len(order.cohort)}); why "
            "is theirs to say. One that may wait for their people has approval.hours=24"
        )
    raise AbandonedRunError(f"question {run} came to nothing ({status}); ask anew")


def _answered(me: Me, home: Home, order: WorkOrder) -> dict[str, Any]:
    """Return the answer as `ask` does: opened here now, or opened here before."""
    data, told = fetched(me.ask, "Answer", order=order.id)
    if data and "reused" in told:
        raise IntegrityError("the aggregator says of a sealed answer that it is a past one")
    if not data:
        past = past_release(home, order, told.get("reused"))
        return _value(order, past.kept["answer"], past.kept, past.told())
    renew(me, home)  # members may have changed since it was asked
    rows = opened(home, order, lambda: KeptAnswer.read(data)).result.to_json()
    return _value(order, rows, told, None)


def _value(
    order: WorkOrder, rows: Any, told: Mapping[str, Any], reused: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "run": order.id,
        "sql": QueryTask.from_json(order.parameters).sql,
        "epsilon": reused["epsilon"] if reused else order.epsilon,
        "delta": order.delta,
        "unit": order.unit,
        "answer": rows,
        "parties": told.get("parties", []),
        "late": told.get("late", []),
        **paid(order, reused),
    }
