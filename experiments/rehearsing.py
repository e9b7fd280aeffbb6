"""A rehearsal: a node's contracts and law go through training and a question, on made-up rows.

A whole federation stands in a folder that is gone afterwards: the node's own party with copies of
its contracts and policy, among made-up parties; a twin of every table (`experiments.twin`); letters
carried in memory. Nobody is connected to. The node's folder is read for its settings, contracts and
policy: neither a row nor a byte of its books, keys or ledger is touched.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.settings import NodeSettings, load_settings
from experiments.errors import UsageError
from experiments.ordering import HOLDERS, READS, published_contracts
from experiments.rehearsal_stage import Played, Stage
from federation.messages import Kind
from federation.orders import WorkOrder
from policies.contracts import DataContract
from policies.parties import DATA_ROLES


@dataclass(frozen=True, slots=True)
class Left:
    """Messages of one kind that would leave the node."""

    kind: str
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Act:
    """One order, from its offer to its end.

    asked:   what the order says
    status:  done, or how it ended; reasons: of this node, where it refused
    spent:   by account, what it charged: ε before and after, at the account's limit
    """

    name: str
    contract: str
    asked: Mapping[str, Any]
    status: str
    reasons: tuple[Mapping[str, Any], ...]
    left: tuple[Left, ...]
    spent: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What came of it. skipped: contracts that nothing was asked of, each with the reason."""

    party: str
    rows: Mapping[str, int]
    acts: tuple[Act, ...]
    skipped: Mapping[str, str]

    @property
    def works(self) -> bool:
        """Whether every order was done."""
        return all(act.status == "done" and not act.reasons for act in self.acts)

    @property
    def refused(self) -> bool:
        """Whether this node refused an order."""
        return any(act.reasons for act in self.acts)


def rehearse(folder: Path, tell: Callable[[str], None] = lambda _: None) -> Rehearsed:
    """Let the node in `folder` go through training and a question on made-up rows.

    tell: told what is being done.

    Raises:
        UsageError: the node holds no tables, or offers no contract.
        NodeSettingsError, PolicyError: the folder's settings, contracts or law are not good.
    """
    settings = load_settings(folder)
    contracts = _contracts(settings)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        tell("a federation of made-up parties")
        stage = Stage(Path(name) / "federation", settings, contracts)
        acts = []
        for order in _orders(stage, settings):
            tell(f"{order.kind} over {order.contract}")
            acts.append(_act(order, stage.play(order)))
    published = published_contracts()
    skipped = {
        contract: "the federation publishes no contract of that name: nothing asks for it"
        for contract in contracts
        if contract not in published
    }
    return Rehearsed(str(settings.party), stage.rows, tuple(acts), skipped)


def question(contract: DataContract) -> str:
    """Return a question over a contract: counts, and a sum where a number is bounded, by a list."""
    named = {*contract.unit.columns, *contract.key}
    groups = [
        c.name for c in contract.columns if c.domain and not c.optional and c.name not in named
    ]
    bounded = [c for c in contract.columns if c.low is not None and c.name not in named]
    sums = "".join(f", SUM({column.name})" for column in bounded[:1])
    by, chosen = (f" GROUP BY {groups[0]}", f"{groups[0]}, ") if groups else ("", "")
    return f"SELECT {chosen}COUNT(*){sums} FROM {contract.name}{by}"  # noqa: S608  parsed anew


def _contracts(settings: NodeSettings) -> dict[str, DataContract]:
    contracts = settings.contracts()
    if settings.role not in DATA_ROLES or not contracts:
        raise UsageError(
            f"{settings.party} ({settings.role}) offers no contract, so nothing is asked of its "
            "rows; draft one with `entrepot node contract draft`"
        )
    return contracts


def _orders(stage: Stage, settings: NodeSettings) -> Iterator[WorkOrder]:
    """Yield what is asked: a run of each model that this role trains, a question of each contract.

    A run comes first: what a question leads to is not fixed in advance.
    """
    published, own = published_contracts(), settings.contracts()
    for model, contract in READS.items():
        if contract in own and settings.role in HOLDERS[model]:
            yield stage.training(model)
    for name in own:
        if name in published:
            yield stage.question(question(published[name]))


def _act(order: WorkOrder, played: Played) -> Act:
    return Act(
        order.kind,
        order.contract,
        _asked(order),
        played.status,
        tuple(
            dict(letter.body)
            for letter, _ in played.said
            if letter.kind in {Kind.REFUSED, Kind.FAILED} and letter.order == order.id
        ),
        _left(played),
        _spent(played.before, played.after),
    )


def _left(played: Played) -> tuple[Left, ...]:
    kinds: dict[str, list[int]] = {}
    for letter, size in played.said:
        kinds.setdefault(letter.kind.value, []).append(size)
    return tuple(Left(kind, len(sizes), sum(sizes)) for kind, sizes in sorted(kinds.items()))


def _asked(order: WorkOrder) -> dict[str, Any]:
    return {
        "purpose": order.purpose,
        "legal_basis": order.legal_basis,
        "columns": list(order.columns),
        "unit": order.unit,
        "epsilon": order.epsilon,
        "delta": order.delta,
        "releases": order.releases,
        "cohort": list(order.cohort),
        "minimum": order.minimum,
        "recipients": list(order.recipients),
        **({"sql": order.parameters["sql"]} if order.kind == "query" else {}),
    }


def _spent(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {**now, "before": before.get(name, {}).get("epsilon", 0.0)}
        for name, now in after.items()
        if now["epsilon"] != before.get(name, {}).get("epsilon", 0.0)
    )
