"""What joint questions cost, end to end and part by part, beside what one would use instead.

    over real processes   ten nodes, three keyholders, one aggregator, 96 cells (`bench_asking`)
    cryptography          the critical path of one question, bytes by slot (`bench_threshold`)
    at scale              a million cells of fifty parties at the aggregator (`bench_cells`)
    at a node             ten million rows of Parquet (`bench_partial`)
    matching people       a hundred thousand a side (`bench_psi`); fraud over both (`vertical`)

A row whose peer is `limit` is to stay at or below it, or at or above it where the name says
`over_naive` or `ap`. What this machine lacks is said in the row, and is no number.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final

from experiments import bench_asking, bench_cells, bench_partial, bench_psi, vertical
from experiments.bench_asking import Asked
from experiments.bench_threshold import measure

Result = dict[str, Any]
NO_DATA: Final = "the simulated payments of the Fraud Detection Handbook are not on this machine"
NO_LIBRARY: Final = "openmined-psi is not installed on this machine"
_QUESTIONS: Final = 5
_EXCHANGES: Final = 4


def run(full: bool) -> list[Result]:
    """Return all results; more questions over real processes with `full`."""
    parts: Sequence[Callable[[], list[Result]]] = (
        lambda: _asking(4 * _QUESTIONS if full else _QUESTIONS),
        _threshold,
        _cells,
        _packing,
        _partial,
        _psi,
        _vertical,
    )
    return [result for part in parts for result in part()]


def _asking(questions: int) -> list[Result]:
    asked = bench_asking.measured(questions)
    every = [one.seconds for one in asked]
    exchanges = [one.exchanges for one in asked]
    return [
        _result("query_100_cells_10_parties_s", statistics.median(every), "s", "limit", 2.0),
        _result("query_slowest_s", max(every), "s"),
        _result("query_slot_s", _median(asked, "slot"), "s"),
        _result("query_ready_s", max(one.ready for one in asked), "s"),
        _result("query_parties", min(one.parties for one in asked), "parties"),
        _result("query_cells", asked[0].cells, "cells"),
        _result("query_exchanges", min(exchanges), "exchanges", "limit", _EXCHANGES),
        _result("query_exchanges_most", max(exchanges), "exchanges"),
        _result("query_ordering_s", _median(asked, "ordering"), "s"),
        _result("query_opening_s", _median(asked, "opening"), "s"),
        *(
            _result(f"query_exchange_s: {what}", seconds, "s")
            for what, seconds in bench_asking.by_exchange(asked).items()
        ),
    ]


def _median(asked: Sequence[Asked], part: str) -> float:
    return float(statistics.median(getattr(one, part) for one in asked))


def _threshold() -> list[Result]:
    found = measure(3, 2)
    return [
        _result("query_crypto_ms", found["query_crypto_ms"], "ms", "limit", 100.0),
        _result("bytes_up_per_slot", found["bytes_up_per_slot"], "B", "limit", 42.0),
        _result("bytes_partial_per_slot", found["bytes_partial_per_slot"], "B", "limit", 21.0),
        _result("bytes_verify_per_slot", found["bytes_verify_per_slot"], "B"),
    ]


def _cells() -> list[Result]:
    found = bench_cells.measured()
    return [
        _result("cells_1m_50_parties_cpu_s", found["cpu_s"], "s", "limit", 5.0),
        _result("cells_1m_50_parties_verify_mb", found["verify_mb"], "MB"),
        _result("cells_1m_50_parties_sum_mb", found["sum_mb"], "MB"),
    ]


def _packing() -> list[Result]:
    one, ours = bench_cells.naive(), bench_cells.packed()
    beside = "one value in a TenSEAL ciphertext"
    return [
        _result("packed_over_naive", one["bytes"] / ours["bytes"], "×", "limit", 10_000.0),
        _result("packed_over_naive_time", one["ms"] / ours["ms"], "×"),
        _result("bytes_per_value", ours["bytes"], "B", beside, one["bytes"]),
        _result("encrypt_us_per_value", 1e3 * ours["ms"], "µs", beside, round(1e3 * one["ms"], 1)),
    ]


def _partial() -> list[Result]:
    found = bench_partial.measured()
    ours, plain, bounded = (found[f"{name}_s"] for name in ("ours", "plain", "bounded"))
    return [
        _result("partial_over_duckdb", ours / plain, "×", "limit", 1.5),
        _result("partial_over_bounded_duckdb", ours / bounded, "×", "limit", 1.5),
        _result("partial_10m_cpu_s", ours, "s", "plain DuckDB, no bound", round(plain, 3)),
        _result("partial_bounding_cpu_s", bounded - plain, "s"),
        _result("partial_unprepared_cpu_s", found["unprepared_s"], "s"),
        _result("partial_prepared_s", found["prepared_s"], "s"),
        _result("partial_prepared_mib", found["prepared_mib"], "MiB"),
    ]


def _psi() -> list[Result]:
    ours, other = bench_psi.measured(), bench_psi.openmined()
    peer, beside = ("openmined-psi", other) if other else (NO_LIBRARY, {})
    return [
        _result("psi_100k_cpu_s", ours["cpu_s"], "s", peer, beside.get("cpu_s")),
        _result("psi_100k_wall_s", ours["wall_s"], "s", peer, beside.get("wall_s")),
        _result("psi_100k_off_by", ours["off_by"], "people"),
    ]


def _vertical() -> list[Result]:
    found = vertical.compared()
    if found is None:
        return [{"name": name, "skipped": NO_DATA} for name in ("vertical_ap", "vertical_ap_dp")]
    epsilon = found["epsilon"]
    return [
        _result("vertical_ap", found["joint"], "AP", "limit", 0.59),
        _result("vertical_ap_dp", found["joint_dp"], "AP"),
        _result("vertical_ap_merchant", found["merchant"], "AP"),
        _result("vertical_ap_issuer", found["issuer"], "AP"),
        *(_result(f"vertical_epsilon_{side}", epsilon[side], "ε") for side in sorted(epsilon)),
    ]


def _result(
    name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None
) -> Result:
    """Return a row: four significant digits, and whole numbers as they are."""
    shown = value if isinstance(value, int) else float(f"{value:.4g}")
    return {"name": name, "value": shown, "unit": unit, "peer": peer, "peer_value": peer_value}
