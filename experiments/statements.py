"""What the nodes whose folders lie on this machine have spent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.books import Books
from clients.settings import load_settings
from experiments.home import Home
from policies.budget.account import scope_of
from policies.contracts import DataContract


@dataclass(frozen=True, slots=True)
class NodeStatement:
    """One account of one node. epsilon: spent and pending together, as the gate compares it."""

    node: str
    dataset: str
    unit: str
    epsilon: float
    pending: float
    delta: float
    limit: float
    releases: int

    @property
    def left(self) -> float:
        """The distance to the limit; runs compose, they do not add."""
        return max(0.0, round(self.limit - self.epsilon, 4))

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {
            "node": self.node,
            "dataset": self.dataset,
            "unit": self.unit,
            "epsilon": self.epsilon,
            "pending": self.pending,
            "delta": self.delta,
            "limit": self.limit,
            "left": self.left,
            "releases": self.releases,
        }


def statements(home: Home) -> list[NodeStatement]:
    """Return one statement per account of every data node, in roster order."""
    return [row for member in home.holders() for row in node_statements(home.node(member.party))]


def node_statements(folder: Path) -> list[NodeStatement]:
    """Return the statements of one node's folder."""
    settings = load_settings(folder)
    contracts: dict[str, DataContract] = settings.contracts()
    scopes = [scope_of(name, contracts.values()) for name in contracts]
    drawn = Books(folder / "books.sqlite").statement(scopes)
    return [
        NodeStatement(
            settings.party,
            row.dataset,
            row.unit,
            round(row.epsilon_spent + row.epsilon_pending, 4),
            row.epsilon_pending,
            row.delta,
            row.limit,
            row.releases,
        )
        for row in drawn
    ]
