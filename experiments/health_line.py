"""One line of what `entrepot node check` says."""

from dataclasses import dataclass
from typing import Any

from clients.qualities import State


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at. fix: what to do; "" where nothing is wrong."""

    area: str
    name: str
    state: State
    said: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the form that `--json` prints."""
        return {
            "area": self.area,
            "name": self.name,
            "state": self.state,
            "said": self.said,
            "fix": self.fix,
        }
