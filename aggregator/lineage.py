"""Every round's model of every run, each vouching for the one that it was made from.

A run is a folder and every round of it a file, `RUN/round-0001.safetensors`, written whole or not
at all and never again: weights, what the server needs to go on (its momentum, say), and a card.
The card names the SHA-256 of the file of the round before, so that the last file vouches for all of
them. The card also lies beside the file as JSON, for people; the file alone is believed.

Who can write to the folder can write another chain. Whether it is the chain that was released knows
who kept the digest of its last file: `lineage` takes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from aggregator.cards import Card
from aggregator.errors import BrokenLineageError, HeldBackError
from aggregator.standing import held_back, is_held_back
from aggregator.stored import SUFFIX, Stored, encode, load, read_bytes, write_whole
from federation.whole_files import sync
from policies.disclosure import Releasable
from secure_compute import canonical


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has models: how many rounds of it are there, and the file of the last."""

    name: str
    rounds: int
    last: Path


def save_round(
    folder: Path, card: Card, released: Releasable, state: Mapping[str, NDArray[Any]]
) -> Stored:
    """Write one round's model whole or not at all, after the file of the round before.

    The card's parent is found here, but for a first round. Saving the same again changes nothing,
    so that whoever commits a round and then saves it can do so again after a crash.

    Raises:
        BrokenLineageError: the round before is not there, or this round is there as another.
        MalformedModelError: weights or state are not numbers that a model can have.
    """
    if card.round > 1:
        card = replace(card, parent=_before(folder, card).digest)
    data = encode(card, released.result, state)
    path = _path(folder, card.run, card.round)
    if path.exists() and read_bytes(path) != data:
        raise BrokenLineageError(
            f"{path} is there already and differs: a round is saved once, after it is committed"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    write_whole(path.with_suffix(".json"), canonical.encode(card.to_json()))
    sync(path.parent)
    return load(path)


def lineage(folder: Path, run: str, head: str = "") -> tuple[Stored, ...]:
    """Return the models that the last one of `run` was made from, oldest first, each verified.

    A run that went on from another's model is followed into that run.

    head: the digest that the last file must have, for who kept it; "" for no matter.

    Raises:
        BrokenLineageError: a round is missing, moved, or does not follow from the one before.
        MalformedModelError: a file is no model.
    """
    rounds = _rounds(folder, run)
    if not rounds:
        raise BrokenLineageError(f"{folder / run} holds no model: name a run that was saved here")
    last = load(_path(folder, run, rounds[-1]))
    if head not in {"", last.digest}:
        raise BrokenLineageError(f"{last.path} is not the last model that was named")
    return ancestry(folder, last)


def ancestry(folder: Path, last: Stored) -> tuple[Stored, ...]:
    """Return the models that `last` was made from, oldest first, and itself, each verified.

    Raises:
        BrokenLineageError, MalformedModelError: see `lineage`.
    """
    found = [last]
    while found[-1].card.parent:
        found.append(_parent(folder, found[-1]))
    for stored in found:
        _require_home(folder, stored)
    return tuple(reversed(found))


def runs(folder: Path) -> tuple[Run, ...]:
    """Return the runs that have models here, by name."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    rounds = {name: _rounds(folder, name) for name in names}
    return tuple(
        Run(name, len(there), _path(folder, name, there[-1]))
        for name, there in rounds.items()
        if there
    )


def last_round(folder: Path, run: str) -> Stored:
    """Return the last model of `run`, from which training goes on, its lineage verified.

    Raises:
        HeldBackError: nothing should be made of that model.
        BrokenLineageError, MalformedModelError: see `lineage`.
    """
    last = lineage(folder, run)[-1]
    if is_held_back(last.card.gate):
        raise HeldBackError(f"{last.path} is held back: {held_back(last.card.gate)}; train anew")
    return last


def _before(folder: Path, card: Card) -> Stored:
    """Return the round before the card's."""
    path = _path(folder, card.run, card.round - 1)
    if not path.exists():
        raise BrokenLineageError(f"{path} is missing, and round {card.round} follows it")
    return load(path)


def _parent(folder: Path, child: Stored) -> Stored:
    """Return the model that `child` was made from.

    Raises:
        BrokenLineageError: it is not there, or is of another order, or had cost more.
    """
    parent = _before(folder, child.card) if child.card.round > 1 else _elsewhere(folder, child)
    if parent.digest != child.card.parent:
        raise BrokenLineageError(f"{child.path} was not made from {parent.path} as it is now")
    if child.card.round > 1 and not _is_next(parent.card, child.card):
        raise BrokenLineageError(f"{child.path} does not continue the run of {parent.path}")
    return parent


def _is_next(parent: Card, child: Card) -> bool:
    """Return whether `child` can be the round after `parent` of one run."""
    names = ("run", "order", "model", "rounds", "seed", "recipe", "contract", "contract_version")
    same = all(getattr(parent, name) == getattr(child, name) for name in (*names, "unit", "cohort"))
    grown = Decimal(child.epsilon) >= Decimal(parent.epsilon)
    return same and child.round == parent.round + 1 and grown


def _elsewhere(folder: Path, child: Stored) -> Stored:
    """Return the model, of whatever run, that a first round went on from."""
    for path in _files(folder):
        if canonical.digest_bytes(read_bytes(path)) == child.card.parent:
            return load(path)
    raise BrokenLineageError(f"{child.path} went on from a model that is not in {folder}")


def _require_home(folder: Path, stored: Stored) -> None:
    """Accept a file that lies where its card says, with the same card beside it."""
    card = stored.card
    if stored.path != _path(folder, card.run, card.round):
        raise BrokenLineageError(f"{stored.path} is round {card.round} of {card.run}: it was moved")
    beside = stored.path.with_suffix(".json")
    if not beside.is_file() or read_bytes(beside) != canonical.encode(card.to_json()):
        raise BrokenLineageError(f"{beside} does not say what {stored.path} says: save it again")


def _files(folder: Path) -> Iterator[Path]:
    for run in runs(folder):
        yield from (_path(folder, run.name, round_) for round_ in _rounds(folder, run.name))


def _rounds(folder: Path, run: str) -> list[int]:
    """Return the rounds of a run that have files, in order."""
    found = (path.stem.removeprefix("round-") for path in (folder / run).glob(f"round-*{SUFFIX}"))
    rounds = sorted(int(digits) for digits in found if digits.isascii() and digits.isdigit())
    return [round_ for round_ in rounds if _path(folder, run, round_).is_file()]


def _path(folder: Path, run: str, round_: int) -> Path:
    return folder / run / f"round-{round_:04}{SUFFIX}"
