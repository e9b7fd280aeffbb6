"""An explanation on a terminal: what a question costs, brings and tells."""

import io
import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.query_view import WIDTH, Format, reused_line
from experiments.scheduling_view import schedule_line


def rendered(value: dict[str, Any], format_: Format) -> bytes:
    """Return an explanation for a file: JSON, or what a terminal would show."""
    if format_ == "json":
        return f"{json.dumps(value, ensure_ascii=False)}\n".encode()
    told = io.StringIO()
    show_explanation(value, Console(file=told, width=WIDTH))
    return told.getvalue().encode()


def show_explanation(value: dict[str, Any], console: Console | None = None) -> None:
    """Print what a query would cost and bring."""
    console = console or Console()
    console.print(Text(value["sql"], style="bold"))
    console.print(
        f"costs ε = {value['epsilon']} at δ = {value['delta']} at each of "
        f"{value['contributors']} nodes; nothing is spent by explaining"
    )
    if scheduled := value.get("schedule"):
        console.print(Text(schedule_line(scheduled)))
    if reused := value.get("reused"):
        console.print(reused_line(reused))
    for read in value["reads"]:
        named = f"{read['contract']} version {read['version']}"
        console.print(Text(f"  reads {', '.join(read['columns'])} of {named}"), soft_wrap=True)
    for error in value["errors"]:
        about = f" (in a cell of {error['rows']} rows)" if error["rows"] else ""
        console.print(Text(f"  {error['label']}: ± {error['error']} {error['unit']}{about}"))
    for line in (*_drowned(value), *_seconds(value)):
        console.print(Text(line))
    console.print(_accounts(value))
    console.print(_learns(value))
    for line in _rules(value):
        console.print(Text(line), soft_wrap=True)


def _drowned(value: dict[str, Any]) -> Iterator[str]:
    found = value["drowned"]
    yield f"noise drowns every cell of fewer than {found['least_rows']} rows"
    if found["from"] is not None:
        names = ", ".join(" · ".join(keys) or "the only one" for keys in found["cells"]) or "none"
        yield f"  of those that were released before (run {found['from'][:12]}): {names}"


def _seconds(value: dict[str, Any]) -> Iterator[str]:
    if value["seconds"] is not None:
        yield f"takes about {value['seconds']} s, as questions did before"


def _accounts(value: dict[str, Any]) -> Table:
    table = Table("node", "account", "ε before", "this adds", "left", "limit", "")
    for row in value["accounts"]:
        table.add_row(
            row["node"],
            f"{row['subjects']} ({row['unit']}, {row['window']})",
            *(f"{row[name]:.4g}" for name in ("before", "cost", "left", "limit")),
            "fits" if row["fits"] else "does not fit",
        )
    return table


def _learns(value: dict[str, Any]) -> Table:
    table = Table("who would learn", "what")
    told: dict[tuple[str, str], list[str]] = {}
    for row in value["learns"]:
        told.setdefault((row["as"], row["what"]), []).append(row["party"])
    for (role, what), parties in told.items():
        table.add_row(f"{role}: {', '.join(parties)}", what)
    return table


def _rules(value: dict[str, Any]) -> Iterator[str]:
    for row in value["rules"]:
        ids = ", ".join([*row["decides"], *row["transfers"]])
        yield f"{row['node']} would {'permit' if row['permits'] else 'refuse'} it by {ids or '–'}"
        for reason in row["reasons"]:
            way_out = f" → {reason['fix']}" if reason.get("fix") else ""
            yield f"  {reason['id']} (rule of the {reason['owner']}): {reason['en']}{way_out}"
