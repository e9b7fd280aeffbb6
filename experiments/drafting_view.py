"""A draft as an operator reads it: which column is which, what is asked, what would be written."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clients.drafts.draft import Mapped
from experiments.drafting import Drafted
from policies.contracts import Column

SHOWN = 8
"""Choices of a question that a terminal shows; `--json` has all."""


def draft_json(found: Drafted) -> dict[str, Any]:
    """Return the form that `--json` prints."""
    return {
        "schema": "entrepot.node.contract.draft/1",
        "contract": found.name,
        "version": found.draft.contract.version,
        "source": found.draft.profile.spoken,
        "source_rows": found.draft.profile.rows,
        "rows": found.rows,
        "columns": [_column(one) for one in found.draft.mapped],
        "not_taken": list(found.draft.left),
        "questions": [
            {
                "number": one.number,
                "key": one.question.key,
                "asks": one.question.asks,
                "proposed": one.question.proposed,
                "choices": list(one.question.choices),
                "answer": one.answer,
            }
            for one in found.questions
        ],
        "open": found.open,
        "usable": not found.open,
        "remarks": list(found.remarks),
        "node_toml": found.source_text,
        "contract_toml": found.contract_text,
    }


def show_draft(found: Drafted) -> None:
    """Print the draft; what is usable on standard output, what is asked on standard error."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("contract", "type", "grade", "bounds", "from", "how", "missing"):
        table.add_column(heading)
    for one in found.draft.mapped:
        table.add_row(*map(escape, _cells(one)))
    profile = found.draft.profile
    console.print(f"{profile.spoken}: {profile.rows} rows, drafted for contract {found.name}")
    console.print(table)
    if found.draft.left:
        console.print(escape(f"not taken: {', '.join(found.draft.left)}"))
    for line in found.remarks:
        console.print(escape(f"· {line}"))
    talk = Console(stderr=True, soft_wrap=True, highlight=False)
    for asked in (one for one in found.questions if one.answer is None):
        talk.print(escape(f"{asked.number}. {asked.question.asks}"))
        talk.print(escape(_hint(asked.question.proposed, asked.question.choices)))
    if found.open:
        talk.print(
            f"{found.open} open: this draft cannot be used yet; add --answer N=VALUE for each, "
            f"behind those that you gave (N=yes takes what is proposed)"
        )
        return
    console.print(f"read so: {found.rows} rows\n")
    console.print(escape(found.source_text), end="")


def _hint(proposed: str | None, choices: tuple[str, ...]) -> str:
    more = f", … ({len(choices)} in all)" if len(choices) > SHOWN else ""
    told = f"   {', '.join(choices[:SHOWN])}{more}" if choices else "   nothing can be answered"
    return f"{told}   [{proposed}]" if proposed is not None else told


def _cells(one: Mapped) -> tuple[str, ...]:
    column, seen = one.column, one.seen
    how = "asked" if seen is not None and one.way is None else _how(one)
    missing = "" if seen is None else str(seen.missing)
    origin = "–" if seen is None else seen.name
    return (column.name, column.type, column.grade, _bounds(column), origin, how, missing)


def _how(one: Mapped) -> str:
    if one.way is None:
        return "absent" if one.column.optional else "asked"
    words = one.way.to_toml()
    if isinstance(words, str):
        return "as it is"
    shown = {n: "…" if isinstance(v, dict) else v for n, v in words.items() if n != "from"}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _bounds(column: Column) -> str:
    unit = f" {column.unit}" if column.unit else ""
    if column.low is not None:
        return f"{column.low}…{column.high}{unit}"
    return f"{len(column.domain)} values" if column.domain else unit.strip()


def _column(one: Mapped) -> dict[str, Any]:
    column, seen, way = one.column, one.seen, one.way
    return {
        "column": column.name,
        "type": column.type,
        "grade": column.grade.value,
        "low": None if column.low is None else str(column.low),
        "high": None if column.high is None else str(column.high),
        "unit": column.unit,
        "domain": None if column.domain is None else list(column.domain),
        "optional": column.optional,
        "from": None if seen is None else seen.name,
        "how": None if way is None else way.to_toml(),
        "missing": None if seen is None else seen.missing,
    }
