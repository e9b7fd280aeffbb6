"""What lies in the data team's folder of the questions that it asked through the people's door.

    people/ANALYST/answers/ORDER.key      what opens the answer; made here, deleted once it is open
    people/ANALYST/answers/ORDER.order    the order as it was signed, for whoever takes it up again
    people/ANALYST/answers/ORDER.json     the answer
    people/ANALYST/answers/ORDER.over     the aggregator says that the question came to nothing

That a question came to nothing is the aggregator's word, which nobody signed: key and order stay
until the order is over, and a later `--resume` may still open what nodes made for it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from experiments.errors import IntegrityError, UsageError
from experiments.home import Home
from experiments.opening import forget_key
from federation.errors import FederationError, MalformedOrderError
from federation.orders import WorkOrder, read_order
from federation.past import is_fine_enough, is_same_question
from federation.tasks import QueryTask
from federation.whole_files import keep_file

_RUN: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Past:
    """A release that was opened here before, and the order that paid for it."""

    order: WorkOrder
    kept: Mapping[str, Any]

    def told(self) -> dict[str, Any]:
        """Return what is said of the release beside an answer that repeats it."""
        order = self.order
        return {"run": order.id, "asked_at": order.begins, "epsilon": order.epsilon}


def file_of(home: Home, order: str, kind: str) -> Path:
    """Return where something of a question lies; kind: `key`, `order`, `json` or `over`."""
    return home.people / "answers" / f"{order}.{kind}"


def came_to_nothing(home: Home, order: WorkOrder, now: float) -> None:
    """The aggregator says so: what opens an answer is deleted once the order is over, not before.

    now: seconds since 1970.
    """
    keep_file(file_of(home, order.id, "over"), b"")
    tidy(home, now)


def tidy(home: Home, now: float) -> None:
    """Delete keys and orders of questions that came to nothing and that no node answers any more.

    now: seconds since 1970.
    """
    for over in (home.people / "answers").glob("*.over"):
        if now >= _expiry(over.with_suffix(".order")):
            forget_key(home, over.stem)
            over.with_suffix(".order").unlink(missing_ok=True)
            over.unlink(missing_ok=True)


def keep(home: Home, value: Mapping[str, Any]) -> None:
    """Keep an answer that was opened here, and nothing any more that opens it."""
    run = str(value["run"])
    keep_file(file_of(home, run, "json"), json.dumps(value, ensure_ascii=False).encode())
    forget_key(home, run)
    file_of(home, run, "over").unlink(missing_ok=True)


def past_release(home: Home, order: WorkOrder, reused: object) -> Past:
    """Return the release that the aggregator says answers `order`, as it was opened here.

    Its rows are this folder's: the aggregator's word makes none.

    Raises:
        IntegrityError: the order wants a release of its own, or what is named answers it not.
        UsageError: the release was not opened here.
    """
    asks = QueryTask.from_json(order.parameters)
    if asks.source == "fresh":
        raise IntegrityError(
            f"the aggregator answers {order.id[:12]} with a past release, and it was asked to be "
            "answered anew: nothing of it is believed; tell the aggregator's operator"
        )
    match reused:
        case {"run": str(run)} if _RUN.fullmatch(run):
            return _opened_here(home, order, run)
    raise IntegrityError("the aggregator names no past release where it says that one answers")


def _opened_here(home: Home, order: WorkOrder, run: str) -> Past:
    try:
        past = read_order(file_of(home, run, "order").read_bytes())
        kept = json.loads(file_of(home, run, "json").read_text("utf-8"))
    except FileNotFoundError as why:
        raise UsageError(
            f"the aggregator says that {run[:12]} answers this, and no answer to that was opened "
            "here: it was given to somebody else, who may show it, or never was. Ask with --fresh "
            "for a release that is sealed to you"
        ) from why
    except (FederationError, ValueError) as why:
        raise UsageError(f"what was kept of {run[:12]} is damaged; ask with --fresh") from why
    is_its_own = past.id == run and kept.get("run") == run and not kept.get("reused")
    if not is_its_own or not is_same_question(past, order) or not is_fine_enough(past, order):
        raise IntegrityError(f"the aggregator answers with {run[:12]}, which asked another thing")
    return Past(past, kept)


def _expiry(path: Path) -> float:
    """Return when the order of a file is over; one that is gone is, and a damaged one stays."""
    try:
        return read_order(path.read_bytes()).expires
    except FileNotFoundError:
        return 0.0
    except MalformedOrderError:
        return float("inf")
