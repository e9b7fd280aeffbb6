"""Single answers on a terminal: stdout is data, stderr is talk."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show_answer(value: dict[str, Any]) -> None:
    """Print an answer as a table, every figure with its 95 % error."""
    answer = value["answer"]
    table = Table(title=value["sql"], title_justify="left")
    for name in answer["keys"]:
        table.add_column(name)
    for name, unit in zip(answer["labels"], answer["units"], strict=True):
        table.add_column(f"{name} ({unit})", justify="right")
    for row in answer["rows"]:
        table.add_row(*row["keys"], *(_cell(cell) for cell in row["cells"]))
    console = Console()
    console.print(table)
    console.print(
        f"ε = {value['epsilon']} at δ = {value['delta']} per {value['unit']} and node; "
        f"{len(value['parties'])} nodes answered; ± is the 95 % error of the noise."
    )


def show_explanation(value: dict[str, Any]) -> None:
    """Print what a query would cost and bring."""
    console = Console()
    console.print(f"[bold]{value['sql']}[/bold]")
    console.print(
        f"costs ε = {value['epsilon']} at δ = {value['delta']} at each of "
        f"{value['contributors']} nodes; nothing is spent by explaining"
    )
    for error in value["errors"]:
        about = f" (in a cell of {error['rows']} rows)" if error["rows"] else ""
        console.print(f"  {error['label']}: ± {error['error']} {error['unit']}{about}")
    table = Table("node", "ε spent", "limit")
    for row in value["left"]:
        table.add_row(row["node"], f"{row['epsilon']:.4g}", f"{row['limit']:.4g}")
    console.print(table)


def show_budgets(rows: list[dict[str, Any]]) -> None:
    """Print the accounts of every node."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("node", no_wrap=True)
    table.add_column("dataset")
    table.add_column("protects")
    for name in ("ε spent", "pending", "limit", "left", "δ"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["node"],
            row["dataset"],
            row["unit"],
            *(f"{row[name]:.4g}" for name in ("epsilon", "pending", "limit", "left")),
            f"{row['delta']:g}",
        )
    Console().print(table)


def _cell(cell: dict[str, Any]) -> str:
    return cell["note"] if cell["value"] is None else f"{cell['value']} ± {cell['error']}"
