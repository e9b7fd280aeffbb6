"""The benchmark of joint questions: every name, each beside its limit or what stands in its place.

Processes and real sizes are the benchmark's own: here its parts are small, and nodes are played.
"""

import json
import math
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from clients.queries.partial import evaluate
from experiments import bench_asking, bench_cells, bench_partial, bench_psi, bench_threshold
from experiments import bench_queries as bench
from experiments.bench_asking import Asked, exchanges_in, in_time, orders, seats
from experiments.commands.bench import command
from experiments.following import AbandonedRunError
from experiments.founding import found, free_ports
from experiments.ordering import Terms, drafted_query, published_contracts
from federation.queries.tree import cells
from federation.tasks import QueryTask
from secure_compute.entropy import SystemEntropy

NAMES = {
    "query_100_cells_10_parties_s": 2.0,
    "query_crypto_ms": 100.0,
    "cells_1m_50_parties_cpu_s": 5.0,
    "bytes_up_per_slot": 42.0,
    "bytes_partial_per_slot": 21.0,
    "bytes_verify_per_slot": None,
    "packed_over_naive": 10_000.0,
    "partial_over_duckdb": 1.5,
    "partial_prepared_s": None,
    "partial_prepared_mib": None,
    "psi_100k_cpu_s": None,
    "vertical_ap": 0.59,
    "vertical_ap_dp": None,
}
LOG = """
2026-01-01 10:00:00,000 INFO aggregator.asking order aaaaaaaaaaaa: 10 order.offer in 0.30 s
2026-01-01 10:00:00,100 INFO aggregator.asking order bbbbbbbbbbbb: 10 order.offer in 9.00 s
2026-01-01 10:00:00,200 INFO aggregator.asking order -: 13 ledger.witness in 9.00 s
2026-01-01 10:00:00,300 INFO aggregator.asking order aaaaaaaaaaaa: 2 query.open, 9 x in 0.05 s
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(1.5, 0.1, 0.2, 1.0, 0.6, 6, 96, 10, (("10 order.offer", 0.3),))
    slower = Asked(2.5, 0.1, 0.2, 1.0, 0.7, 7, 96, 10, (("10 order.offer", 0.5),))
    monkeypatch.setattr(bench_asking, "measured", lambda questions: [asked, slower, asked])
    monkeypatch.setattr(bench_cells, "measured", partial(bench_cells.measured, 9000, 4))
    monkeypatch.setattr(bench_cells, "_REPETITIONS", 1)
    monkeypatch.setattr(bench_partial, "measured", partial(bench_partial.measured, 2000))
    monkeypatch.setattr(bench_psi, "measured", partial(bench_psi.measured, 50))
    monkeypatch.setattr(bench_psi, "openmined", partial(bench_psi.openmined, 50))
    monkeypatch.setattr(bench_threshold, "_REPETITIONS", 1)
    monkeypatch.setattr(bench.vertical, "compared", lambda: None)


def said(*words: str) -> str:
    return CliRunner().invoke(command, ["queries", *words], standalone_mode=False).output


@pytest.mark.usefixtures("small")
def test_every_name_stands_beside_its_limit_and_what_is_missing_is_said() -> None:
    found = {result["name"]: result for result in json.loads(said("--json"))["results"]}
    assert found.keys() >= NAMES.keys()
    for name, limit in NAMES.items():
        row = found[name]
        if "skipped" in row:
            assert name.startswith("vertical") and "not on this machine" in row["skipped"]
            continue
        assert math.isfinite(row["value"]) and row["value"] > 0
        if limit is not None:
            assert (row["peer"], row["peer_value"]) == ("limit", limit)
    # Matters of format, not of speed.
    assert found["bytes_up_per_slot"]["value"] == 42
    assert found["bytes_verify_per_slot"]["value"] == 420
    assert found["query_100_cells_10_parties_s"]["value"] == 1.5
    assert found["query_exchanges"]["value"] == 6 and found["query_exchanges_most"]["value"] == 7
    assert found["query_exchange_s: 10 order.offer"]["value"] == 0.3
    assert found["cells_1m_50_parties_verify_mb"]["value"] == pytest.approx(4 * 2 * 0.344, rel=0.01)


def test_a_slot_that_is_too_short_is_doubled_for_all_questions() -> None:
    tried: list[int] = []

    def asked(slot: int) -> Asked:
        tried.append(slot)
        if slot < shortest or len(tried) == 1:
            raise AbandonedRunError("too few answered in time")
        return Asked(1.0, 0.1, 0.1, slot / 1000, 0.6, 4, 96, 10, ())

    shortest = 2000
    assert [one.slot for one in in_time(asked, 1000, 2)] == [2.0, 2.0]
    assert tried == [1000, 2000, 2000]
    shortest = 5000
    with pytest.raises(AbandonedRunError):
        in_time(asked, 3000, 2)
    assert tried[3:] == [3000, 4000]


def test_a_peer_that_is_absent_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {"cpu_s": 1.25, "wall_s": 0.5, "off_by": 3}
    monkeypatch.setattr(bench_psi, "measured", lambda: ours)
    monkeypatch.setattr(bench_psi, "openmined", lambda: None)
    monkeypatch.setattr(bench.vertical, "compared", lambda: None)
    monkeypatch.setattr(bench, "run", lambda full: [*bench._psi(), *bench._vertical()])
    lines = said().splitlines()
    assert f"psi_100k_cpu_s: 1.25 s   ({bench.NO_LIBRARY})" in lines
    assert f"vertical_ap: skipped ({bench.NO_DATA})" in lines


def test_what_an_exchange_took_is_read_from_the_log_of_that_order_alone() -> None:
    wanted = (("10 order.offer", 0.3), ("2 query.open, 9 x", 0.05))
    assert exchanges_in(LOG, "a" * 64) == wanted


def test_the_question_is_of_as_many_cells_and_parties_as_it_says(tmp_path: Path) -> None:
    limits = {name: {"epsilon": "8", "delta": "1e-6"} for name in ("orders", "demand")}
    home = found(tmp_path / "federation", "bench", seats(10), limits, free_ports())
    terms = Terms(purpose="market_statistics", source="fresh")
    order = drafted_query(home, bench_asking.SQL, bench_asking.EPSILON, terms)
    plan = QueryTask.from_json(order.parameters).plan
    assert (cells(plan), len(order.cohort)) == (96, 10)
    assert len({member.organisation for member in home.holders()}) == 10

    data = tmp_path / "orders.parquet"
    orders(1).to_parquet(data)
    counted = evaluate(plan, published_contracts()["orders"], data, SystemEntropy()).values
    assert sum(counted[:96]) > 900 and min(counted[:96]) >= 0


def test_the_rows_at_a_node_are_of_the_contract_and_some_customers_are_over_the_bound(
    tmp_path: Path,
) -> None:
    data, contract = tmp_path / "orders.parquet", published_contracts()["orders"]
    bench_partial.make(data, 4000)
    plan = bench_partial.plan()
    counts = evaluate(plan, contract, data, SystemEntropy()).values[:8]
    kept = bench_partial.asked(bench_partial.BOUNDED, data, most=contract.unit.rows)
    assert 3500 < sum(counts) < 4000
    assert sum(counts) == sum(row[1] for row in kept)
