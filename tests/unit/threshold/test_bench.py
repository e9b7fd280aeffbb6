"""The benchmark of a joint sum measures what it names, with one repetition."""

import json
import math

import pytest
from click.testing import CliRunner

from experiments import bench_threshold
from experiments.commands.bench import command


def test_every_result_has_its_name_and_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_threshold, "_REPETITIONS", 1)
    monkeypatch.setattr(bench_threshold, "PARTIES", 4)
    said = CliRunner().invoke(command, ["threshold", "--json"], standalone_mode=False)
    found = {result["name"]: result["value"] for result in json.loads(said.output)["results"]}
    wanted = {"query_crypto_ms", "bytes_up_per_slot", "bytes_partial_per_slot", "key_commit_ms"}
    assert wanted <= found.keys()
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    # A matter of format, not of speed.
    assert found["bytes_up_per_slot"] == 42
    assert found["bytes_partial_per_slot"] == 21
    assert found["bytes_verify_per_slot"] == 4 * 42
