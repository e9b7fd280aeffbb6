"""How a party takes a new sealing key: its operator says so here, its node enters it."""

from typing import Any

from clients.rotation import begin
from clients.settings import NodeSettings
from experiments.leaving import restart


def rotate(settings: NodeSettings) -> dict[str, Any]:
    """Make the node's next opening and stream keys; one that runs starts anew, to take them up."""
    is_new, runs = begin(settings), restart(settings.folder)
    when = "now: it was told to start anew" if runs else "as soon as it runs and is connected"
    what = "new sealing and stream keys" if is_new else "the new keys that were made before"
    return {
        "schema": "entrepot.node.rotate/1",
        "party": settings.party,
        "federation": settings.federation,
        "epoch": settings.roster().epoch,
        "running": runs,
        "said": f"{settings.party} takes up {what} {when}; its identity key stays",
    }
