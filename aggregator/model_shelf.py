"""The models that were released, as people are shown them: in a list, by their card, as a file.

    shelf = ModelShelf(load_aggregator(folder))
    shelf.row(known), shelf.card(known), shelf.piece(known, 0)

A model is released once its run is done and the ledger says so. Of one that is held back the card
says that, too: what is made of it is its reader's to answer for.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aggregator.errors import BrokenLineageError, MalformedModelError
from aggregator.lineage import lineage
from aggregator.people_views import Known, NotTakenError
from aggregator.record import Record
from aggregator.settings import AggregatorSettings
from aggregator.shelf_files import ShelfFiles
from aggregator.stored import SUFFIX, Stored
from federation.ledger.entries import EntryKind, encode
from federation.ledger.merkle import leaf_hash
from federation.ledger.notes import origin_of
from secure_compute.canonical import JSON

_LOG: Final = logging.getLogger(__name__)


class ModelShelf:
    """The registry of one aggregator; files: what is known of its files, from call to call."""

    def __init__(self, settings: AggregatorSettings, files: ShelfFiles | None = None) -> None:
        self._settings = settings
        self._files = files or ShelfFiles()
        self._folder = settings.folder / "models"

    def row(self, known: Known) -> dict[str, JSON] | None:
        """Return one line of the list; None where the run left no released model."""
        if not _is_released(known):
            return None
        result = known.job.result or {}
        return {
            **known.row(),
            "delta": known.signed.order.delta,
            "rounds": int(result["rounds"]),
            "digest": str(result["digest"]),
            "standing": str(result.get("gate", {}).get("standing", "")),
        }

    def card(self, known: Known) -> dict[str, JSON]:
        """Return what a model says of itself, verified back to its seed, and where it was released.

        Raises:
            NotTakenError: the run left none.
            BrokenLineageError, MalformedModelError: it is not the one that was released.
        """
        last = self._last(known)
        return {"card": last.card.to_json(), "digest": last.digest, "ledger": self._entry(known)}

    def piece(self, known: Known, begin: int) -> dict[str, JSON]:
        """Return a piece of a model's file; errors: `card`, and of `ShelfFiles.piece`."""
        _require_released(known)
        folder, result = self._folder / known.job.id, known.job.result or {}
        with _no_paths_told(known):
            path = folder / f"round-{int(result['rounds']):04}{SUFFIX}"
            return self._files.piece(path, str(result["digest"]), begin)

    def _last(self, known: Known) -> Stored:
        _require_released(known)
        result = known.job.result or {}
        with _no_paths_told(known):
            return lineage(self._folder, known.job.id, str(result["digest"]))[-1]

    def _entry(self, known: Known) -> JSON:
        """Return which entry of the aggregator's ledger released it, and that entry's leaf hash."""
        own = self._settings
        roster = own.roster()
        record = Record(own.ledger, own.party, own.identity, roster, time.time)
        for number, entry in enumerate(record.entries()):
            if entry.kind is EntryKind.RELEASED and entry.order == known.job.id:
                origin = origin_of(roster.federation, own.party)
                leaf = leaf_hash(encode(entry)).hex()
                return {"log": origin, "entry": number, "at": entry.at, "leaf": leaf}
        return None


@contextmanager
def _no_paths_told(known: Known) -> Iterator[None]:
    """Whatever is wrong with a file is said without where on this machine it lies."""
    try:
        yield
    except (BrokenLineageError, MalformedModelError) as why:
        _LOG.exception("The model of %s cannot be handed out.", known.job.id[:12])
        raise BrokenLineageError(
            f"the model of {known.job.id[:12]} is not the one that was released; let the "
            "aggregator's operator restore it from a copy"
        ) from why


def _is_released(known: Known) -> bool:
    job = known.job
    is_done = known.signed.order.kind == "train" and job.status == "done"
    return is_done and "digest" in (job.result or {})


def _require_released(known: Known) -> None:
    if not _is_released(known):
        raise NotTakenError(f"{known.job.id[:12]} has released no model: {known.job.status}")
