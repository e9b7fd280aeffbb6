"""Which rows `entrepot node check` judges: those that the node works with next.

A newer snapshot that waits is taken up before the next order; what is wrong with its rows is worth
knowing before that. One that was made for other contracts is not taken up as it is.
"""

from pathlib import Path

from clients.settings import NodeSettings
from clients.snapshots import require_fit, waiting
from experiments.health_line import Line
from policies.errors import NonConformantError

_AREA = "snapshots"
_WAITS = (
    "a newer snapshot waits until this node has no order under way, or starts; it is what was "
    "checked"
)


def upcoming(settings: NodeSettings) -> tuple[dict[str, Path], list[Line]]:
    """Return where the rows of each contract lie that orders read next, and what waits."""
    contracts = settings.contracts()
    found = [_waiting(settings, table) for table in settings.sources]
    newer = {line.name: made for made, line in filter(None, found) if line.state == "ok"}
    places = {name: newer.get(one.table, settings.table(one)) for name, one in contracts.items()}
    return places, [line for _, line in filter(None, found)]


def _waiting(settings: NodeSettings, table: str) -> tuple[Path, Line] | None:
    made = waiting(settings, table)
    if made is None:
        return None
    try:
        require_fit(made, table, settings.contracts().values())
    except NonConformantError as why:
        said = f"a newer snapshot waits for other contracts, and was not checked: {why}"
        fix = f"run `entrepot node refresh {settings.folder}`"
        return made, Line(_AREA, table, "warn", said, fix)
    return made, Line(_AREA, table, "ok", _WAITS)
