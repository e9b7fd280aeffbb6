"""One model as a file: weights, what the server goes on from, and a card. Never pickle.

Every number is checked before anything is made of it: a file is at most `LARGEST_FILE` bytes, holds
exactly the arrays that its header says, finite, and as many weights as the recipe's model has.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aggregator import safetensors
from aggregator.cards import Card
from aggregator.errors import MalformedModelError
from federation import at_rest
from federation.errors import MalformedOrderError
from federation.models import Vector
from federation.sequences import network_from_json
from secure_compute import canonical
from secure_compute.errors import NotCanonicalError
from secure_compute.primitives.vault import SEALED_OVERHEAD, is_sealed

LARGEST_FILE: Final = 1 << 26
SUFFIX: Final = ".safetensors"
WEIGHTS: Final = "weights"
_CARD: Final = "card"


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One round's model as it lies on disk, whole and checked.

    digest:  SHA-256 of the file.
    weights: [d] float32; state: what else the server goes on from, by name.
    """

    path: Path
    digest: str
    card: Card
    weights: Vector
    state: Mapping[str, NDArray[Any]]


def load(path: Path) -> Stored:
    """Return the model in a file, wherever it lies.

    Raises:
        MalformedModelError: the file is damaged, too large, of another program or another version.
    """
    return decode(path, read_bytes(path))


def decode(path: Path, data: bytes) -> Stored:
    """Return the model in `data`, the bytes of the file `path`.

    Raises:
        MalformedModelError: see `load`.
    """
    try:
        return _decoded(path, data)
    except MalformedModelError as why:
        raise MalformedModelError(f"{path} {why}; restore it from a copy, or train again") from why


def encode(card: Card, weights: Any, state: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file of a model.

    Raises:
        MalformedModelError: weights or state are not numbers that a model can have.
    """
    if WEIGHTS in state:
        raise MalformedModelError("a model's state has no weights of its own")
    tensors = {**state, WEIGHTS: np.asarray(weights)}
    text = canonical.encode(card.to_json()).decode()
    data = safetensors.encode(tensors, {_CARD: text})
    _decoded(Path(card.run), data)
    if len(data) > LARGEST_FILE:
        raise MalformedModelError(f"a model's file has at most {LARGEST_FILE} bytes")
    return data


def _decoded(path: Path, data: bytes) -> Stored:
    tensors, metadata = safetensors.decode(data)
    if set(metadata) != {_CARD}:
        raise MalformedModelError("was written by another program")
    try:
        card = Card.from_json(canonical.decode(metadata[_CARD].encode()))
    except NotCanonicalError as why:
        raise MalformedModelError("has a card that is not canonical") from why
    weights = tensors.pop(WEIGHTS, None)
    if weights is None or weights.dtype != np.float32 or weights.ndim != 1:
        raise MalformedModelError("holds no weights, or some of another kind")
    if not all(np.isfinite(array).all() for array in (weights, *tensors.values())):
        raise MalformedModelError("holds weights that are not numbers")
    if weights.size != _dimension(card, weights.size):
        raise MalformedModelError("holds more or fewer weights than its recipe's model has")
    return Stored(path, canonical.digest_bytes(data), card, weights, tensors)


def _dimension(card: Card, otherwise: int) -> int:
    """Return the number of weights that the recipe's model has, where it names a known model."""
    method = card.recipe.get("method")
    model = (method if isinstance(method, Mapping) else card.recipe).get("model")
    if not isinstance(model, Mapping):
        return otherwise
    try:
        return network_from_json(model).dimension
    except (MalformedOrderError, TypeError) as why:
        raise MalformedModelError("has a recipe of an unknown model") from why


def read_bytes(path: Path) -> bytes:
    """Return what a file holds, never more than the largest model has.

    Raises:
        MalformedModelError: it is no file, or too large.
        SealedFileError: see `at_rest.read`.
    """
    try:
        if not path.is_file():
            raise MalformedModelError(f"{path} is no file: name a model's file")
        with path.open("rb") as handle:
            data = handle.read(min(path.stat().st_size, LARGEST_FILE + SEALED_OVERHEAD) + 1)
    except OSError as why:
        raise MalformedModelError(f"{path} cannot be read: {why.strerror}") from why
    if len(data) > LARGEST_FILE + SEALED_OVERHEAD * is_sealed(data):
        raise MalformedModelError(f"{path} is larger than any model: name another file")
    return at_rest.opened(path, data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, sealed where its folder has a vault."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as handle:
        handle.write(at_rest.sealed(path, data))
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)
