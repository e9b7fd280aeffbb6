"""The 95 % intervals of an evaluation hold what the noise-free sum says 95 times in 100.

Quick runs look at what is cheap; the slow one at everything, in a hard setting. Both have power:
readings that believe in 0.6 of the noise must fall below the line.
"""

from decimal import Decimal

import numpy as np
import pytest

from federation.evaluation import ForecastSums, ScoreSums
from federation.readings import Estimate, read_forecasts, read_scores
from tests.scored import exact_sum, simulated

NOISE = 4.0
SPEC = ScoreSums(8, 2)
RATES = ("roc_area", "base_rate", "calibration_error")
CAREFUL = {"calibration_error", "average_precision"}  # at least, not about, 95 times


def holds(found: Estimate, true: Estimate) -> bool:
    assert found.low is not None and found.high is not None and true.value is not None
    return found.low <= true.value <= found.high


def covered(draws: int, names, apart: float, slope: float, believed: float = 1.0, rows=200_000):
    """Return for each metric how often its interval holds, and how often it was given."""
    total = exact_sum(SPEC, *simulated(rows, apart, 7, slope=slope))
    exact, generator = read_scores(SPEC, total, 0.0), np.random.default_rng(11)
    inside = {name: [] for name in names}
    for _ in range(draws):
        noised = total + NOISE * generator.standard_normal(len(total))
        report = read_scores(SPEC, noised, believed * NOISE)
        for name in names:
            if getattr(report, name).value is not None:
                inside[name].append(holds(getattr(report, name), getattr(exact, name)))
    return {
        name: (sum(hits) / max(len(hits), 1), len(hits) / draws) for name, hits in inside.items()
    }


@pytest.fixture
def cheap(monkeypatch):
    """Leave average precision's draws out, which take most of the time."""
    monkeypatch.setattr("federation.readings.DRAWS", 50)


def test_rates_are_covered(cheap):
    """250 draws: a right interval holds less than .9 or more than .99 of them once in 500 times."""
    for name, (share, given) in covered(250, RATES, 2.0, 1.0).items():
        assert given == 1.0
        assert 0.9 <= share <= (1.0 if name in CAREFUL else 0.99), name


def test_believing_in_too_little_noise_shows(cheap):
    told = covered(250, RATES, 2.0, 1.0, believed=0.6)
    assert all(told[name][0] < 0.87 for name in ("roc_area", "base_rate"))


def test_noise_does_not_add_up_to_a_calibration_error(cheap):
    """Read as it is, the sum would say a third too much: noise has no sign in an absolute value."""
    total = exact_sum(SPEC, *simulated(200_000, 2.0, 7))
    exact, generator = (
        read_scores(SPEC, total, 0.0).calibration_error.value,
        np.random.default_rng(3),
    )
    noised = [total + 12.0 * generator.standard_normal(len(total)) for _ in range(40)]
    told, as_it_is = (
        np.mean([read_scores(SPEC, one, noise).calibration_error.value for one in noised])
        for noise in (12.0, 0.0)
    )
    assert abs(told - exact) < 0.2 * exact < as_it_is - exact


@pytest.mark.slow
@pytest.mark.parametrize("apart, slope", [(2.0, 1.0), (2.5, 0.5), (2.5, 1.4)])
def test_average_precision_is_covered(apart, slope):
    for name, (share, given) in covered(200, ("average_precision", *RATES), apart, slope).items():
        assert given > 0.95, name
        assert 0.91 <= share <= (1.0 if name in CAREFUL else 0.985), (name, share)


@pytest.mark.slow
def test_average_precision_that_believes_in_too_little_noise_shows():
    told = covered(150, ("average_precision",), 2.0, 1.0, believed=0.35)
    assert told["average_precision"][0] < 0.88


@pytest.mark.slow
def test_what_is_too_noisy_is_not_told():
    (_, given) = covered(40, ("average_precision",), 2.0, 1.0, rows=6_000)["average_precision"]
    assert given < 0.3


def forecasts_covered(believed: float) -> dict[str, float]:
    spec = ForecastSums(1, Decimal(500), Decimal(100))
    units = np.diag([100.0, 500.0, 1e4, 1e4, 1.0]) / spec.weight
    total = np.linalg.solve(units, [30_000.0, 150_000.0, 800_000.0, 1_100_000.0, 40.0])
    exact, generator = read_forecasts(spec, total, 0.0), np.random.default_rng(2)
    names, hits = ("wape", "rmsse", "moved"), []
    for _ in range(3000):
        report = read_forecasts(
            spec, total + NOISE * generator.standard_normal(5), believed * NOISE
        )
        hits.append([holds(getattr(report, name), getattr(exact, name)) for name in names])
    return dict(zip(names, np.mean(hits, 0).tolist(), strict=True))


def test_forecasts_are_covered():
    """3000 draws: a right interval is outside [.935, .965] once in 6,000 times."""
    assert all(0.935 <= share <= 0.965 for share in forecasts_covered(1.0).values())
    assert all(share < 0.925 for share in forecasts_covered(0.85).values())
