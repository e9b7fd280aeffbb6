"""Trained models on disk: weights as plain numbers, and everything needed to use and check them.

Version 1 wrote one `.npz` at the end of a run. Now every round is a file of `lineage.save_round`;
`load_model` reads both.
"""

import io
import json
import zlib
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np

from aggregator.stored import load, read_bytes, write_whole
from federation.errors import MalformedOrderError, VersionMismatchError
from federation.models import ModelSpec, Vector
from federation.orders import WorkOrder
from federation.tasks import TrainingTask
from policies.disclosure import Releasable

VERSION: Final = 1
_BROKEN: Final = (
    *(KeyError, TypeError, ValueError, AttributeError, EOFError, OSError, RuntimeError),
    *(MemoryError, BadZipFile, zlib.error, MalformedOrderError),
)
"""What numpy, zipfile and json raise at bytes that are no archive of arrays."""


def save_model(
    folder: Path, run: str, order: WorkOrder, task: TrainingTask, released: Releasable
) -> Path:
    """Write `<run>.npz` whole or not at all, and return its path. No pickle, ever."""
    card = {
        "version": VERSION,
        "run": run,
        "model": task.model,
        "recipe": task.recipe.to_json(),
        "epsilon": order.epsilon,
        "delta": order.delta,
        "unit": order.unit,
        "cohort": list(order.cohort),
        "code": order.code,
    }
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(card, sort_keys=True).encode(), np.uint8)
    np.savez(buffer, weights=released.result, card=text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.model}-{run[:12]}.npz"
    write_whole(path, buffer.getvalue())
    return path


def load_model(path: Path) -> tuple[Vector, dict[str, object]]:
    """Return a model's weights, float32 [dimension], and its card, whichever version wrote it.

    Raises:
        VersionMismatchError: the `.npz` is no model, or one that another version wrote.
        MalformedModelError: the file of another name is no model of a round.
    """
    if path.suffix != ".npz":
        stored = load(path)
        return stored.weights, {**stored.card.to_json()}
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            weights, card = archive["weights"], json.loads(archive["card"].tobytes())
        shape = (ModelSpec.from_json(card["recipe"]["model"]).dimension,)
    except _BROKEN as why:
        raise VersionMismatchError(f"{path} is not a model of this version; train again") from why
    if card.get("version") != VERSION or weights.shape != shape:
        raise VersionMismatchError(f"{path} was written by another version; train again")
    return weights.astype(np.float32), card
