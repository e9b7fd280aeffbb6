"""What a federation bears: kills at every step, many nodes, many orders, many rounds.

    entry   what a party waits for at its own terminal (`experiments.bench_entering`)
    kills   every process at every step, for real (`experiments.faults`)
    load    fifty nodes as processes, orders that wait together, two hundred rounds (`loading`)

A row whose peer is `limit` is to stay at or below it; the cells of the table are to be at least as
many as their limit.
"""

from collections.abc import Sequence
from typing import Any, Final

from experiments import bench_entering, faults, loading
from experiments.bench_entering import Entering
from experiments.faults import Cell

Result = dict[str, Any]
NODES: Final = 50
QUESTIONS: Final = 50
ROUNDS: Final = 200
_MIB: Final = 1 << 20


def run(full: bool) -> list[Result]:
    """Return all results; with `full`, four times as many orders."""
    return [
        *entry(bench_entering.measured()),
        *kills(faults.table()),
        *load(4 * QUESTIONS if full else QUESTIONS),
    ]


def entry(found: Entering) -> list[Result]:
    """Return how long a party's own commands take until its node is up."""
    return [
        _result("join_s", found.own, "s", "limit", 10),
        _result("join_let_in_s", found.let_in, "s"),
    ]


def kills(cells: Sequence[Cell]) -> list[Result]:
    """Return what the cells of the fault table say together."""
    done = sum(cell.came in {"done", "member"} for cell in cells)
    return [
        _result("kill_matrix_cells", len(cells), "kills", "limit", 40),
        _result("kill_matrix_done", done, "kills"),
        _result("kill_matrix_answers", sum(cell.seen.left for cell in cells), "answers"),
        _result("kill_matrix_lost_spend", sum(c.seen.lost for c in cells), "spends", "limit", 0),
        _result(
            "kill_matrix_double_release", sum(c.seen.double for c in cells), "releases", "limit", 0
        ),
        _result("kill_matrix_reused_keys", max(c.seen.reused for c in cells), "keys", "limit", 0),
    ]


def load(questions: int) -> list[Result]:
    """Return how fifty nodes bear so many orders at once and two hundred rounds."""
    found = loading.measured(NODES, questions, ROUNDS)
    return [
        _result("load_nodes", found.nodes, "nodes"),
        _result("load_up_s", found.up_s, "s"),
        _result("load_orders", found.asked, "orders"),
        _result("load_orders_done", found.done, "orders"),
        _result("load_orders_s", found.orders_s, "s"),
        _result("node_private_mib", found.private / _MIB, "MiB", "limit", 170),
        _result("rss_growth_mib_200_rounds", found.growth / _MIB, "MiB", "limit", 20),
        _result("handles_growth_200_rounds", found.handles, "handles", "limit", ROUNDS // 20),
    ]


def _result(
    name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None
) -> Result:
    shown = value if isinstance(value, int) else float(f"{value:.4g}")
    return {"name": name, "value": shown, "unit": unit, "peer": peer, "peer_value": peer_value}
