"""A released model comes to a person's machine: its file, held against its card and its digest."""

from pathlib import Path
from typing import Any

from aggregator.errors import MalformedModelError
from aggregator.standing import is_held_back
from aggregator.stored import decode
from experiments.errors import IntegrityError, UsageError
from experiments.fetching import fetched
from experiments.files import require_place
from experiments.peoples_door import Me
from federation.whole_files import replace_file


def card_of(me: Me, run: str) -> dict[str, Any]:
    """Return a model's card, its digest, and the entry of the ledger that released it.

    Raises:
        ClientError: see `clients.calling`.
    """
    return me.ask("Card", order=run)


def fetch(me: Me, run: str, out: Path) -> dict[str, Any]:
    """Write the model of a run into a file, 0600, once it is the one that its card describes.

    Raises:
        UsageError: the file has no place, or is there.
        IntegrityError: what comes is another model, or none.
        ClientError: see `clients.calling`.
    """
    require_place(out)
    if out.exists():
        raise UsageError(f"{out} is there already; name another file with --out")
    told = card_of(me, run)
    data, _ = fetched(me.ask, "Model", order=run)
    try:
        stored = decode(out, data)
    except MalformedModelError as why:
        raise IntegrityError(f"what is handed out is no model: {why}") from why
    if stored.digest != told.get("digest") or stored.card.to_json() != told.get("card"):
        raise IntegrityError("what is handed out is another model than its card is of")
    if not stored.card.order.startswith(run):
        raise IntegrityError("what is handed out is the model of another run than was named")
    replace_file(out, data, 0o600)
    held_back = is_held_back(stored.card.gate)
    return {**told, "file": str(out), "bytes": len(data), "held_back": held_back}
