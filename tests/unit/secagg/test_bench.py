"""The benchmark of a secure sum measures what it names; here with short vectors."""

import json
import math

import pytest
from click.testing import CliRunner

from experiments import bench_secagg
from experiments.commands.bench import command


def test_every_result_has_its_name_and_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_secagg, "LONG", 4000)
    monkeypatch.setattr(bench_secagg, "WIDE", 100)
    said = CliRunner().invoke(command, ["secagg", "--json"], standalone_mode=False)
    found = {result["name"]: result["value"] for result in json.loads(said.output)["results"]}
    wanted = {"secagg_mask_ms_10x10m", "secagg_upload_ms_10x10m", "secagg_control_bytes_per_peer"}
    assert wanted <= found.keys()
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    # A matter of format, not of speed: what an upload of 10 organisations has beyond its vector.
    assert found["secagg_control_bytes_per_peer"] <= 64
