"""Evaluations by one sum: what units send, what the sum says, and what is refused."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import average_precision_score, roc_auc_score

from clients.training.demand import wape
from clients.training.evaluating import forecast_units
from clients.training.gradients import Batch
from clients.training.sampling import UnitRows
from federation.binned import average_precision, rising, roc_area
from federation.errors import MalformedMessageError, MalformedOrderError
from federation.evaluation import BINS, EDGES, ForecastSums, ScoreSums, from_json
from federation.models import ModelSpec, chances
from federation.noisy import TOO_NOISY
from federation.readings import counting, possible_counts, read_forecasts, read_scores, running
from tests.scored import (
    IDENTITY,
    ITSELF,
    batch_of,
    bins_of,
    counted,
    exact_sum,
    simulated,
    vectors,
)

SCORES = ScoreSums(4, 4)
FORECASTS = ForecastSums(3, Decimal(500), Decimal(200))
SLACK = 1 + 1e-12

logits = st.one_of(
    st.floats(-14, 6), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, *EDGES.tolist()])
)
rows_of_scores = st.lists(
    st.tuples(st.integers(0, 6), logits, st.booleans()), min_size=1, max_size=30
)


# -- what a unit sends -----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(rows_of_scores, st.integers(1, 4))
def test_no_unit_of_few_enough_rows_is_ever_clipped(rows, rare):
    units, scores, truth = (np.array(part) for part in zip(*rows, strict=True))
    most = int(np.bincount(units).max())
    spec = ScoreSums(most, min(rare, most))
    batch = batch_of(truth, scores, units)
    sent = vectors(spec, batch)
    assert np.isfinite(sent).all()
    alarm = (batch.targets > 0.5) | (batch.features[..., 0] >= -3.0)
    few = bool(((alarm & batch.present).sum(1) <= spec.rare).all())
    assert not few or (np.linalg.norm(sent, axis=1) <= SLACK).all()


def test_the_norm_of_the_worst_unit_is_almost_one():
    """Bounds that were too careful would waste accuracy: K equal rows in the first bin."""
    spec = ScoreSums(8, 8)
    truth, scores = np.ones(8, bool), np.full(8, 60.0)
    assert 0.85 < np.linalg.norm(vectors(spec, batch_of(truth, scores, np.zeros(8)))[0]) <= SLACK
    guess, base, naive = -1e9, 30.0, 0.0
    worst = Batch(np.tile([guess, base, naive], (1, 3, 1)), np.zeros((1, 3)), np.ones((1, 3), bool))
    assert np.linalg.norm(vectors(FORECASTS, worst)[0]) == pytest.approx(1.0)


def test_a_unit_with_more_rare_rows_than_agreed_is_longer_than_one():
    """That is where clipping bites, and the bias that is spoken of comes from."""
    spec = ScoreSums(8, 2)
    sent = vectors(spec, batch_of(np.ones(8, bool), np.full(8, 5.0), np.zeros(8)))
    assert np.linalg.norm(sent[0]) > 3.0


@settings(max_examples=10, deadline=None)
@given(rows_of_scores, st.integers(0, 6))
def test_a_unit_reads_its_own_rows_alone_to_the_last_bit(rows, gone):
    units, scores, truth = (np.array(part) for part in zip(*rows, strict=True))
    most = int(np.bincount(units).max())
    spec = ScoreSums(most, most)

    def sent(keep):
        found = {}
        for unit in np.unique(units[keep]):
            here = keep & (units == unit)
            found[int(unit)] = vectors(spec, batch_of(truth[here], scores[here], units[here]))[0]
        together = vectors(spec, batch_of(truth[keep], scores[keep], units[keep]))
        return found, sorted(vector.tobytes() for vector in together)

    alone, together = sent(np.ones(len(units), bool))
    assert together == sorted(vector.tobytes() for vector in alone.values())
    if (rest := units != gone).any():
        _, without = sent(rest)
        left = sorted(vector.tobytes() for unit, vector in alone.items() if unit != gone)
        assert without == left


def test_forecasts_of_units_are_independent_to_the_last_bit():
    generator = np.random.default_rng(5)
    model = ModelSpec((2, 3, 1))
    weights = generator.normal(size=model.dimension)
    features = generator.normal(size=(40, 3, 4)) * 3
    features[0, 0, 0], features[1, 0, 3] = np.nan, np.inf
    batch = Batch(features, generator.normal(size=(40, 3)), generator.random((40, 3)) < 0.7)
    batch.present[:, 0] = True
    together = vectors(FORECASTS, batch, model, weights)
    alone = [
        vectors(FORECASTS, Batch(features[i : i + 1], batch.targets[i : i + 1],
                                 batch.present[i : i + 1]), model, weights)[0]
        for i in range(40)
    ]  # fmt: skip
    assert sorted(v.tobytes() for v in together) == sorted(v.tobytes() for v in alone)
    assert np.isfinite(together).all() and (np.linalg.norm(together, axis=1) <= SLACK).all()


# -- what the sum says -----------------------------------------------------------------------------


def test_without_noise_the_sum_says_exactly_what_the_bins_say():
    truth, scores = simulated(4000, 2.0, 1, rate=0.05)
    units = np.arange(4000) // 4
    total = vectors(SCORES, batch_of(truth, scores, units)).sum(0)
    assert np.allclose(total, exact_sum(SCORES, truth, scores), rtol=0, atol=1e-9)
    positives, negatives = counted(truth, scores)
    found = counting(SCORES) @ total
    assert np.allclose(found[:BINS], positives, atol=1e-6)
    assert np.allclose(found[BINS : 2 * BINS], negatives, atol=1e-6)
    report = read_scores(SCORES, total, 0.0)
    expected = {
        "average_precision": average_precision(positives, negatives),
        "roc_area": roc_area(positives, negatives),
        "base_rate": truth.mean(),
    }
    for name, value in expected.items():
        estimate = getattr(report, name)
        assert estimate.low == pytest.approx(value, abs=1e-7) == estimate.value == estimate.high


def test_the_reliability_table_is_that_of_the_rows():
    truth, scores = simulated(4000, 2.5, 2, rate=0.1)
    chance = chances(scores)
    total = vectors(SCORES, batch_of(truth, scores, np.arange(4000) // 4)).sum(0)
    report = read_scores(SCORES, total, 0.0)
    gaps = 0.0
    for line in report.reliability:
        here = (chance >= line.low) & (chance < line.high)
        assert line.rows.value == pytest.approx(here.sum(), abs=1e-6)
        assert line.said.value == pytest.approx(chance[here].mean(), abs=1e-8)
        assert line.happened.value == pytest.approx(truth[here].mean(), abs=1e-8)
        gaps += abs(chance[here].sum() - truth[here].sum())
    assert report.calibration_error.value == pytest.approx(gaps / len(truth), abs=1e-8)
    assert report.to_json()["reliability"][0]["high"] == "1.000000"


def test_ties_across_a_bin_are_a_straight_piece():
    assert average_precision(np.array([0.0, 30.0]), np.array([0.0, 70.0])) == pytest.approx(0.3)
    assert roc_area(np.array([0.0, 30.0]), np.array([0.0, 70.0])) == 0.5
    positives, negatives = np.array([10.0, 20.0, 5.0]), np.array([1.0, 40.0, 900.0])
    steps = 20_000
    before, after, area = 0.0, 0.0, 0.0
    for p, n in zip(positives, negatives, strict=True):
        s = (np.arange(steps) + 0.5) / steps
        area += p * np.mean((before + s * p) / (before + after + s * (p + n)))
        before, after = before + p, after + n
    assert average_precision(positives, negatives) == pytest.approx(area / 35.0, rel=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=25))
def test_rising_is_the_least_squares_fit(values):
    given_values = np.array(values)
    expected = np.maximum(isotonic_regression(given_values), 0.0)
    assert np.allclose(rising(given_values), expected, atol=1e-9)
    assert np.allclose(rising(np.stack([given_values, given_values]))[1], expected, atol=1e-9)


@pytest.mark.parametrize("slope, most", [(1.5, 0.03), (1.0, 0.03), (0.6, 0.03), (0.3, 0.05)])
@pytest.mark.parametrize("apart", [1.2, 2.0, 3.0])
def test_bins_are_fine_enough(slope, most, apart):
    truth, scores = simulated(100_000, apart, int(10 * apart), slope=slope)
    positives, negatives = counted(truth, scores)
    exact = average_precision_score(truth, scores)
    assert abs(float(average_precision(positives, negatives)) / exact - 1) < most
    assert abs(float(roc_area(positives, negatives)) - roc_auc_score(truth, scores)) < 0.004


# -- scores that nobody would expect ---------------------------------------------------------------


def test_scores_that_are_no_numbers_lie_at_the_ends():
    scores = np.array([np.nan, -np.inf, -1e300, np.inf, 1e300, 4.0, -3.0])
    truth = np.zeros(7, bool)
    spec = ScoreSums(7, 7)
    found = counting(spec) @ vectors(spec, batch_of(truth, scores, np.zeros(7)))[0]
    place = np.flatnonzero(np.round(found[BINS : 2 * BINS], 6))
    assert place.tolist() == [0, int((EDGES > -3.0).sum()), BINS - 1]
    assert np.round(found[BINS : 2 * BINS][place]).tolist() == [3, 1, 3]
    assert bins_of(scores).tolist() == [BINS - 1] * 3 + [0, 0, 0, place[1]]


def test_equal_scores_say_nothing_and_are_told_so():
    truth = np.arange(4000) % 10 == 0
    total = vectors(SCORES, batch_of(truth, np.full(4000, -2.05), np.arange(4000) // 4)).sum(0)
    report = read_scores(SCORES, total, 0.0)
    assert report.average_precision.value == pytest.approx(0.1)
    assert report.roc_area.value == pytest.approx(0.5)
    (line,) = (line for line in report.reliability if line.rows.value > 1)
    assert line.said.value == pytest.approx(float(chances(np.array([-2.05]))[0]))


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_without_a_positive_nothing_is_ranked(noise):
    truth, scores = np.zeros(4000, bool), np.linspace(-9, 1, 4000)
    total = vectors(SCORES, batch_of(truth, scores, np.arange(4000) // 4)).sum(0)
    report = read_scores(SCORES, total, noise)
    assert report.average_precision.value is None and report.roc_area.value is None
    assert report.average_precision.note == TOO_NOISY
    assert report.base_rate.value == pytest.approx(0.0, abs=1e-9)
    nothing = read_scores(SCORES, np.zeros(SCORES.dimension), noise)
    assert nothing.base_rate.value is None and nothing.calibration_error.value is None
    assert all(line.said.note == TOO_NOISY for line in nothing.reliability)


def test_what_noise_may_have_made_is_not_told():
    """Five positives, and a noise of their count whose deviation is over ten."""
    truth, scores = np.zeros(4000, bool), np.linspace(-9, 1, 4000)
    truth[-5:] = True
    report = read_scores(SCORES, exact_sum(SCORES, truth, scores), 2.0)
    assert report.average_precision.note == report.roc_area.note == TOO_NOISY
    assert report.base_rate.low == 0.0 < report.base_rate.value
    small = read_forecasts(FORECASTS, np.full(5, 0.5), 1.0)
    assert small.wape.note == small.rmsse.note == TOO_NOISY


def test_counts_are_made_possible():
    generator = np.random.default_rng(3)
    sums = generator.normal(size=(5, SCORES.dimension)) * 40
    for counts in possible_counts(SCORES, sums):
        assert counts.shape == (5, BINS) and (counts >= 0).all()


def test_a_sum_that_is_none_is_refused():
    good = np.zeros(SCORES.dimension)
    for total, noise in (
        (good[1:], 1.0),
        (np.full_like(good, np.nan), 1.0),
        (good, -1.0),
        (good, float("nan")),
    ):
        with pytest.raises(MalformedMessageError):
            read_scores(SCORES, total, noise)
    with pytest.raises(MalformedMessageError):
        read_forecasts(FORECASTS, good, 1.0)


# -- forecasts -------------------------------------------------------------------------------------


def sold(seed: int, units: int = 300):
    """Return rows, and the actual, predicted and naive volumes in them, [units, 3] each."""
    generator = np.random.default_rng(seed)
    base = generator.uniform(3, 5, (units, 3))
    targets = generator.normal(size=(units, 3)) * 0.3
    guess = targets + generator.normal(size=(units, 3)) * 0.2
    naive = np.expm1(targets + base) * np.exp(generator.normal(size=(units, 3)) * 0.4)
    present = np.ones((units, 3), bool)
    rows = UnitRows(guess[..., None].astype(np.float32), targets.astype(np.float32), present,
                    np.zeros(units, np.int64))  # fmt: skip
    whole = forecast_units(rows, base, naive)
    batch = Batch(whole.features.astype(float), whole.targets.astype(float), present)
    volumes = [np.expm1(part + batch.features[..., 1])
               for part in (batch.targets, batch.features[..., 0])]  # fmt: skip
    return batch, volumes[0], volumes[1], batch.features[..., 2]


def test_without_noise_forecasts_have_the_exact_metrics():
    spec = ForecastSums(3, Decimal(5000), Decimal(5000))
    batch, actual, predicted, naive = sold(1)
    report = read_forecasts(spec, vectors(spec, batch).sum(0), 0.0)
    assert report.wape.value == pytest.approx(wape(predicted, actual), rel=1e-9)
    rmsse = np.sqrt(np.square(predicted - actual).sum() / np.square(naive - actual).sum())
    assert report.rmsse.value == pytest.approx(rmsse, rel=1e-9)
    assert report.moved.value == 0.0
    assert report.to_json()["wape"]["note"] == ""


def test_what_is_moved_to_a_bound_is_counted():
    spec = ForecastSums(3, Decimal(60), Decimal(20))
    batch, actual, predicted, naive = sold(2)
    report = read_forecasts(spec, vectors(spec, batch).sum(0), 0.0)
    missed, naively = np.abs(predicted - actual), np.abs(naive - actual)
    moved = (missed > 20) | (actual > 60) | (naively > 20)
    assert 0 < moved.sum() < moved.size
    assert report.moved.value == pytest.approx(moved.sum())
    clipped = np.minimum(missed, 20).sum() / np.minimum(actual, 60).sum()
    assert report.wape.value == pytest.approx(clipped, rel=1e-9)


def test_a_forecast_of_nothing_sold_is_too_noisy():
    report = read_forecasts(FORECASTS, np.zeros(5), 0.5)
    assert report.wape.value is None and report.rmsse.note == TOO_NOISY


# -- the agreed form -------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [SCORES, ScoreSums(8, 2), FORECASTS])
def test_an_evaluation_reads_back_what_it_prints(spec):
    assert from_json(spec.to_json()) == spec
    for key in spec.to_json():
        short = {name: part for name, part in spec.to_json().items() if name != key}
        with pytest.raises(MalformedOrderError):
            from_json(short)
    for change in ({"v": 2}, {"rows": 0}, {"rows": True}, {"rows": 1001}, {"more": 1}):
        with pytest.raises(MalformedOrderError):
            from_json(spec.to_json() | change)


@pytest.mark.parametrize("bound", ["0", "-1", "NaN", "Infinity", "1e3", "0500", "1e400", "x"])
def test_a_bound_has_one_spelling_and_is_positive(bound):
    with pytest.raises(MalformedOrderError):
        from_json(FORECASTS.to_json() | {"volume": bound})


@pytest.mark.parametrize("rows, rare", [(4, 5), (4, 0), (0, 0)])
def test_more_rare_rows_than_rows_are_refused(rows, rare):
    with pytest.raises(MalformedOrderError, match="rare"):
        ScoreSums(rows, rare)


def test_running_sums_cost_little_noise():
    """The deviation of the count above an edge: of bins by themselves it would be the root."""
    assert IDENTITY.dimension == len(ITSELF)
    reach = np.linalg.norm(running(SCORES)[:BINS], axis=1) * SCORES.rare_weight
    assert reach.max() < 2.6 < np.sqrt(BINS) / 3
