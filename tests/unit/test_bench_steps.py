"""The benchmark of steps compares steps that do the same."""

import numpy as np
import pytest

from experiments import bench_steps
from experiments.bench_steps import Setting


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(bench_steps, "WIDE", (5, 8, 6, 1))
    monkeypatch.setattr(bench_steps, "SMALL", (4, 3, 1))
    monkeypatch.setattr(bench_steps, "BATCHES", {"1k": 24, "8k": 40})


def test_all_private_steps_go_the_same_way_and_a_plain_one_does_not():
    setting = Setting.of((5, 8, 6, 1), 30)
    setting.batch.features[:] *= 4  # so that some are clipped
    start = setting.weights[:40].reshape(8, 5)
    moved = {
        name: make(setting)().ravel()[:40].reshape(8, 5).astype(np.float64) - start
        for name in ("ours", "by_lanes", "opacus_hooks", "opacus_ghost", "plain")
        for make in [getattr(bench_steps, name)]
    }
    length = np.linalg.norm(moved["by_lanes"])
    for name in ("ours", "opacus_hooks", "opacus_ghost"):
        assert np.linalg.norm(moved[name] - moved["by_lanes"]) < 0.01 * length, name
    assert np.linalg.norm(moved["plain"] - moved["by_lanes"]) > 0.1 * length


def test_every_row_is_there_and_a_ratio_stands_beside_its_limit():
    results = {result["name"]: result for result in bench_steps.run(full=False)}
    for label in ("1k", "8k", "1k_small", "8k_small"):
        assert results[f"step_ratio_{label}"]["peer_value"] == 1.3
        for name in ("plain", "ours", "opacus_hooks", "opacus_ghost"):
            assert results[f"step_{name}_ms_{label}"]["value"] > 0
    assert "step_lanes_ms_1k" in results and "step_lanes_ms_8k" not in results
    assert {"step_noise_ms", "step_noise_ms_small", "customer_step_ratio_1k"} <= set(results)
