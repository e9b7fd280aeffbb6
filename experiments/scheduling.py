"""The same work again and again: orders signed at once, each of which begins when its time comes.

Each is an order by itself. Nodes judge it when its time has come and set nothing aside before; one
that fails stops none of the others. It is over before the next begins. Nobody sits and watches, so
all of them wait for people at nodes that have to ask them, and a question is asked anew each time.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aggregator.jobs import Jobs
from experiments.accounts import open_books
from experiments.errors import BudgetExhaustedError
from experiments.explaining import account_changes
from experiments.home import Home
from experiments.ordering import require_keyholders, sealed, sign
from experiments.planning import asked_in, repeated
from experiments.schedules import Schedule, turns
from federation.orders import WorkOrder
from policies.budget.account import Asked
from policies.parties import PartyId

Put: TypeAlias = Callable[[Mapping[str, bytes]], None]
"""Puts signed orders on a table, by their ids, in the order of their times."""


@dataclass(frozen=True, slots=True)
class Priced:
    """What several orders of the same work would change, all of them together.

    accounts: as `explaining.account_changes` has them.
    affordable: how many of the orders every account could pay for.
    unseen: the parties of the cohort whose books do not lie here; what is left there is theirs.
    """

    accounts: tuple[Mapping[str, Any], ...]
    affordable: int
    unseen: tuple[PartyId, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the sums as `--json` prints them."""
        return {
            "accounts": list(self.accounts),
            "affordable": self.affordable,
            "unseen": list(self.unseen),
        }


def priced(home: Home, order: WorkOrder, times: int) -> Priced:
    """Return what so many orders of the same work would change; nothing is spent or set aside.

    Raises:
        UsageError: a node of the cohort does not offer a contract that is read.
    """
    unseen = tuple(party for party in order.cohort if not home.node(party).is_dir())
    seen = (party for party in order.cohort if party not in unseen)
    asked = [asked_in(open_books(home.node(party)), order) for party in seen]
    affordable = bisect.bisect_left(range(1, times + 1), True, key=lambda n: not _fit(asked, n))
    return Priced(tuple(_accounts(asked, times)), affordable, unseen)


def _accounts(
    asked: list[tuple[str, tuple[Asked, ...]]], times: int
) -> Iterator[Mapping[str, Any]]:
    for node, each in asked:
        yield from account_changes(node, repeated(each, times))


def _fit(asked: list[tuple[str, tuple[Asked, ...]]], times: int) -> bool:
    return all(account["fits"] for account in _accounts(asked, times))


def require_affordable(found: Priced, times: int) -> None:
    """Return if what is left could pay for all of the orders.

    Raises:
        BudgetExhaustedError: somewhere it could not; the message says where, and how many it pays.
    """
    short = [one for one in found.accounts if not one["fits"]]
    if not short:
        return
    lines = "\n  ".join(f"{one['node']}: {one['refusal']}" for one in short)
    passes = f"--times {found.affordable}" if found.affordable > 1 else "one of them alone, or none"
    raise BudgetExhaustedError(
        f"what is left does not pay for all {times} orders; none of them was signed. It pays for "
        f"{found.affordable}: {passes} would pass\n  {lines}"
    )


def lay(home: Home, draft: WorkOrder, schedule: Schedule, put: Put) -> dict[str, Any]:
    """Sign all orders of a schedule and put them on a table; return what the command prints.

    Raises:
        BudgetExhaustedError: what is left could not pay for all.
        UsageError: a node does not offer what is read, or nobody could open an answer.
    """
    found = priced(home, draft, schedule.times)
    require_affordable(found, schedule.times)
    orders = turns(draft, schedule)
    if draft.kind == "query":
        require_keyholders(home)
        orders = tuple(sealed(home, order) for order in orders)
    put({order.id: sign(home, order) for order in orders})
    return told(orders, found)


def on_table(home: Home, now: float) -> Put:
    """Return what puts signed orders on the aggregator's table here: all of them, or none.

    now: seconds since 1970.
    """
    return lambda wires: Jobs(home.jobs).add_all(wires, now)


def price_of(home: Home, draft: WorkOrder, schedule: Schedule) -> dict[str, Any]:
    """Return what a schedule would change, as a dry run prints it; nothing is signed."""
    return {"schedule": schedule.to_json(), **priced(home, draft, schedule.times).to_json()}


def told(orders: tuple[WorkOrder, ...], found: Priced) -> dict[str, Any]:
    """Return what was laid on the table, as the JSON of a command that schedules."""
    first = orders[0]
    return {
        "schema": "entrepot.schedule/1",
        "kind": first.kind,
        "epsilon": first.epsilon,
        "delta": first.delta,
        "unit": first.unit,
        "orders": [
            {
                "run": order.id,
                "not_before": order.not_before,
                "waits_until": order.waits_until,
                "expires": order.expires,
            }
            for order in orders
        ],
        **found.to_json(),
    }
