"""How one party leaves: its operator says so here, its node says it where it is connected."""

import os
import signal
from pathlib import Path
from typing import Any

from clients import turned_away
from clients.errors import NodeSettingsError
from clients.rosters import LEAVING, left, require_member
from clients.settings import NodeSettings, load_settings


def leaver(folder: Path) -> NodeSettings:
    """Return the node in `folder`, which is a member and so may leave.

    Raises:
        NodeSettingsError: there is none, or it has left, or said so and was let go.
        FederationError: its roster is not the members'.
    """
    from clients.checking import is_leaving  # which knows databases

    settings = load_settings(folder)
    require_member(settings, settings.roster())
    if turned_away.since(folder) is not None and is_leaving(settings):
        raise NodeSettingsError(left(settings))
    return settings


def leave(settings: NodeSettings) -> dict[str, Any]:
    """Note that the node leaves; one that runs starts anew, to say so at once."""
    (settings.folder / LEAVING).touch(mode=0o600)
    return told_anew(settings, "entrepot.node.leave/1", f"leaves {settings.federation}")


def told_anew(settings: NodeSettings, schema: str, does: str, besides: str = "") -> dict[str, Any]:
    """Have the node start anew if it runs; return what it does then, and when."""
    runs = restart(settings.folder)
    when = "now: it was told to start anew" if runs else "as soon as it runs and is connected"
    return {
        "schema": schema,
        "party": settings.party,
        "federation": settings.federation,
        "epoch": settings.roster().epoch,
        "running": runs,
        "said": f"{settings.party} {does} {when}{besides}",
    }


def restart(folder: Path) -> bool:
    """End the node's process, which its supervisor starts again; tell whether there was one."""
    import psutil

    try:
        pid = int((folder / "run" / "node.pid").read_text(encoding="utf-8"))
        words = psutil.Process(pid).cmdline()
        if "clients" not in words or str(folder) not in words:
            return False
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError, psutil.Error):
        return False
    return True
