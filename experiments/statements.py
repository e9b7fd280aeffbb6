"""What the nodes whose folders lie on this machine have spent, and what that means for people."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from experiments.accounts import Account, all_accounts, open_books
from experiments.home import Home
from experiments.meaning import certificate, person, plain
from experiments.outcome import PersonAt, Plain, Step
from policies.budget import accountant
from policies.budget.events import Event, spell
from policies.budget.forecast import MOST, runs_left

COURSE: Final = 64
"""Most steps of a burn-down that are worked out; in between, runs are skipped."""

SHOWN_RUNS: Final = 100
"""More runs than these are "more than 100": the last run may have been a tiny one."""


@dataclass(frozen=True, slots=True)
class NodeStatement:
    """One account of one node. epsilon: spent and pending together, as the gate compares it.

    silos: how many parties have such an account, so that one person may stand at all of them.
    """

    account: Account
    silos: int = 1

    @property
    def node(self) -> str:
        """The party."""
        return self.account.node

    @property
    def dataset(self) -> str:
        """The contracts that charge this account."""
        return self.account.statement.dataset

    @property
    def unit(self) -> str:
        """What the unit is called."""
        return self.account.statement.unit

    @property
    def spent(self) -> float:
        """What has left the node."""
        return self.account.statement.epsilon_spent

    @property
    def pending(self) -> float:
        """What open reservations add to what is spent."""
        return self.account.statement.epsilon_pending

    @property
    def epsilon(self) -> float:
        """Spent and pending together."""
        return round(self.spent + self.pending, 4)

    @property
    def delta(self) -> float:
        """The δ at which ε is read."""
        return self.account.statement.delta

    @property
    def limit(self) -> float:
        """The ceiling."""
        return self.account.statement.limit

    @property
    def releases(self) -> int:
        """How many releases have left the node."""
        return self.account.statement.releases

    @property
    def left(self) -> float:
        """The distance to the limit; runs compose, they do not add."""
        return max(0.0, round(self.limit - self.epsilon, 4))

    @property
    def is_personal(self) -> bool:
        """Whether the unit is of a person."""
        return self.account.scope.unit != "commercial"

    @property
    def failures(self) -> tuple[str, str]:
        """Return the purse of the mechanisms' own δ: spent and pending, and its limit."""
        statement = self.account.statement
        spent = statement.failures_spent + statement.failures_pending
        return spell(spent), spell(statement.failures_limit)

    @property
    def last_run(self) -> Event | None:
        """What the last run did, or None where nothing has run."""
        return self.account.history[-1][1] if self.account.history else None

    @property
    def runs_left(self) -> int | None:
        """About how many more runs like the last one fit; None where nothing has run."""
        if self.last_run is None:
            return None
        return runs_left(self.account.scope, self.account.held, self.last_run)

    def course(self) -> tuple[Step, ...]:
        """Return the gate's ε after each run, oldest first; of very many runs, some."""
        history = self.account.history
        stride = max(1, -(-len(history) // COURSE))
        places = {*range(stride - 1, len(history), stride), len(history) - 1} - {-1}
        events = [event for _, event in history]
        return tuple(
            Step(history[place][0], accountant.epsilon(events[: place + 1], self.delta))
            for place in sorted(places)
        )

    def certificate(self) -> float | None:
        """Return the PLD figure of what is spent and pending, or None where there is none."""
        return certificate(self.account.held, self.delta, fixed=self.account.statement.fixed)

    def plain(self) -> Plain:
        """Return what an attacker gains, in plain numbers."""
        fixed = self.account.statement.fixed
        return plain(self.account.held, self.delta, self.epsilon, fixed=fixed)

    def person(self) -> tuple[PersonAt, ...]:
        """Return ε for one person at 1, 2, 3 and all parties; nothing where no person stands."""
        if not self.is_personal:
            return ()
        parties = sorted({count for count in (1, 2, 3, self.silos) if count <= self.silos})
        return person(self.account.held, self.delta, tuple(parties))

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        statement = self.account.statement
        left, last = self.runs_left, self.last_run
        return {
            "node": self.node,
            "dataset": self.dataset,
            "unit": self.unit,
            "epsilon": self.epsilon,
            "spent": self.spent,
            "pending": self.pending,
            "delta": self.delta,
            "limit": self.limit,
            "left": self.left,
            "releases": self.releases,
            "subjects": statement.subjects,
            "window": statement.window,
            "gate": {"epsilon": self.epsilon, "kind": "rdp"},
            "certificate": {"epsilon": self.certificate(), "kind": "pld"},
            "lifetime": {
                "epsilon": statement.lifetime,
                "failures": spell(statement.lifetime_failures),
            },
            "failures": dict(zip(("spent", "limit"), self.failures, strict=True)),
            "runs_left": {
                "count": None if left is None else min(left, SHOWN_RUNS),
                "more": left is not None and left > SHOWN_RUNS,
                "endless": left is not None and left >= MOST,
                "like": None if last is None else accountant.epsilon([last], self.delta),
            },
            "plain": asdict(self.plain()),
            "person": [asdict(item) for item in self.person()],
            "course": [asdict(step) for step in self.course()],
        }


def statements(home: Home) -> list[NodeStatement]:
    """Return one statement per account of every data node, in roster order."""
    accounts = all_accounts(home)
    holders: dict[tuple[str, str], set[str]] = {}
    for account in accounts:
        holders.setdefault(_whose(account), set()).add(account.node)
    return [NodeStatement(account, len(holders[_whose(account)])) for account in accounts]


def node_statements(folder: Path) -> list[NodeStatement]:
    """Return the statements of one node's folder."""
    return [NodeStatement(account) for account in open_books(folder).accounts()]


def _whose(account: Account) -> tuple[str, str]:
    return account.scope.subjects, account.scope.unit
