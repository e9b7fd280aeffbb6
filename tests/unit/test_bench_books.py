"""The benchmark of the books measures what it names; here on a small scale."""

import json
import math

import pytest
from click.testing import CliRunner

from experiments import bench_books
from experiments.commands.bench import command

NAMES = [
    "reserve_10_scopes_ms",
    "reserve_encrypted_ms",
    "crash_injections",
    "crash_lost",
    "crash_double",
    "overshoot",
    "pld_10k_events_ms",
    "what_if_ms",
    "decision_p50_ms",
    "append_per_cpu_s",
    "append_wall_per_s",
    "verify_100k_s",
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    median = bench_books._median
    monkeypatch.setattr(bench_books, "_median", lambda times, step: median(min(times, 3), step))
    monkeypatch.setattr(bench_books, "TURNS", 3)
    monkeypatch.setattr(bench_books, "CRASHES", 4)
    monkeypatch.setattr(bench_books, "ENTRIES", 1000)


def test_every_result_has_its_name_and_a_number(small: None) -> None:
    said = CliRunner().invoke(command, ["books", "--json"], standalone_mode=False)
    results = json.loads(said.output)["results"]
    assert [result["name"] for result in results] == NAMES
    found = {result["name"]: result["value"] for result in results}
    assert all(math.isfinite(value) for value in found.values())
    assert [found[name] for name in NAMES[2:6]] == [4, 0, 0, 0.0]
    assert all(found[name] > 0 for name in NAMES if name not in NAMES[3:6])


def test_batches_beat_one_commit_per_entry(small: None) -> None:
    said = CliRunner().invoke(command, ["books", "--json"], standalone_mode=False)
    beside = {r["name"]: (r["value"], r["peer_value"]) for r in json.loads(said.output)["results"]}
    for faster in ("append_per_cpu_s", "append_wall_per_s"):
        ours, theirs = beside[faster]
        assert ours > 3 * theirs
    ours, theirs = beside["reserve_10_scopes_ms"]
    assert ours < theirs
