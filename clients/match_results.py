"""What came out of a match at this end, in the node's own folder: `matches/ORDER.*`.

A noised size, and a noised sum beside it, are numbers in JSON. Whom both sets hold is a table for
this party's eyes: who of its own people are in both, by identifier, and with tokens the token of
each of its own and whether the partner has it too. Nothing of it is sent.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from federation.whole_files import replace_file
from secure_compute.psi.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Found:
    """One result. size: with noise; common: identifiers in both sets; tokens: of either side.

    total, unit: the sum beside the size, with noise, as a decimal string.
    """

    size: int | None = None
    total: str | None = None
    unit: str = ""
    common: tuple[str, ...] | None = field(default=None, repr=False)
    tokens: Tokens | None = field(default=None, repr=False)

    def summary(self) -> str:
        """Return what the node's own file keeps beside the messages."""
        if self.size is not None:
            return json.dumps(self.numbers())
        own = self.common if self.tokens is None else self.tokens.common
        return json.dumps({"common": len(own or ())})

    def numbers(self) -> dict[str, int | str | None]:
        """Return size and sum."""
        told: dict[str, int | str | None] = {"size": self.size}
        return told if self.total is None else {**told, "sum": self.total, "unit": self.unit}


def table_of(folder: Path, order: str) -> Path:
    """Return where the table of a disclosure lies in a node's folder."""
    return folder / "matches" / f"{order}.parquet"


def write_found(folder: Path, order: str, found: Found) -> None:
    """Write a result whole; a crash leaves none or all of it."""
    path = table_of(folder, order)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if found.size is not None:
        replace_file(
            path.with_suffix(".json"), (json.dumps(found.numbers()) + "\n").encode(), 0o600
        )
        return
    sink = pa.BufferOutputStream()
    pq.write_table(_table(found), sink)
    replace_file(path, sink.getvalue().to_pybytes(), 0o600)


def _table(found: Found) -> pa.Table:
    if found.tokens is None:
        return pa.table({"identifier": pa.array(found.common or (), pa.string())})
    own, others = found.tokens.own, found.tokens.others
    return pa.table(
        {
            "identifier": pa.array([name for name, _ in own], pa.string()),
            "token": pa.array([token for _, token in own], pa.binary()),
            "common": pa.array([token in others for _, token in own], pa.bool_()),
        }
    )
