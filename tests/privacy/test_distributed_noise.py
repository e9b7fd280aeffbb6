"""Attacks on the distributed mechanism as a whole stay below its price, and find what is broken.

One round of a secure sum, with the product's own parts: a silo clips, adds up and rounds; every
node draws base and layers from its seeds; lost nodes send nothing; layers beyond the lost are
removed by whoever was told their seeds; the attacker takes off the share of a colluder and all that
others contributed. The canary is the worst customer: K equal rows, all 4,097 coordinates alike, at
an edge of the grid. What is left is noise, or noise and canary, and a threshold on their likelihood
ratio tells one from the other.

The canary moves every coordinate by the same step a, so that the likelihood ratio grows with the
sum over coordinates. That sum of Skellam draws is Skellam of d times the variance
(`test_skellam_noise` adds it up), so that a million rounds are drawn as a million numbers. A few
hundred rounds are drawn in all coordinates beside it.
"""

import math
import secrets
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import beta

from clients.training import private_sgd
from clients.training.gradients import Batch
from federation.models import ModelSpec
from federation.recipes import Recipe
from federation.shares import Released, Shares, event
from policies.budget import accountant
from secure_compute import fixedpoint, skellam
from tests.steps import batch, chosen, clipped_sum

WIDTH = 4097
ROWS = 8
FINE, COARSE = 4096, 65  # steps to the clip; 65 is what a ring of 16 bits has room for
ROUNDS = 1 << 21
DELTAS = (1e-5, 1e-2)
MULTIPLIER = Fraction(7, 10)  # σ/Δ2: an attack with so many rounds sees most of such noise's price
DOUBT = 1e-3  # chance that a lower bound is above the truth, over all its thresholds

THREE = Shares(nodes=3, colluders=1, threshold=3, variance=1)
TWO_OF_FOUR = Shares(nodes=4, colluders=2, threshold=4, variance=1)
TWO_OF_FIVE = Shares(nodes=5, colluders=2, threshold=4, variance=1)
FOUR = Shares(nodes=4, colluders=1, threshold=3, variance=1)
EIGHT = Shares(nodes=8, colluders=1, threshold=5, variance=1)


@dataclass(frozen=True)
class Attacked:
    """A round as it ran: what each honest node drew, and by how much the canary moves the sum.

    parts:   variances of base and layers that every node draws.
    honest:  survivors whose noise nobody else knows.
    removed: how many layers from the last on were taken off again.
    step:    a, by which the canary moves every coordinate; claimed: ε at each of DELTAS.
    """

    parts: tuple[Fraction, ...]
    honest: int
    removed: int
    step: int
    claimed: tuple[float, ...]


def recipe(grid: int) -> Recipe:
    numbers: dict[str, object] = {"rounds": 1, "steps": 1, "sampling_rate": 1, "clip": 1}
    numbers |= {"noise_multiplier": 1, "learning_rate": 1, "expected_units": 10}
    return Recipe(
        model=ModelSpec((WIDTH - 1, 1)), loss="mse", grid=grid, rows_per_unit=ROWS, **numbers
    )


def silo(grid: int, customers: int = 1) -> Batch:
    """A customer whose rows bring every coordinate just below a rounding edge, and the canary.

    As several customers the canary is what it would be if its rows were clipped one by one.
    """
    features = np.ones((1 + customers, ROWS, WIDTH - 1))
    edge = -0.4999 / grid / ROWS
    targets = np.full((1 + customers, ROWS), -1e4)
    targets[0] = edge
    return batch(features, targets, np.ones((1 + customers, ROWS), bool))


def unit_by_unit(grid: int, rows: Batch) -> np.ndarray:
    return private_sgd.rounded_sum(recipe(grid), np.zeros(WIDTH), rows)


def sum_rounded_once(grid: int, rows: Batch) -> np.ndarray:
    total = clipped_sum(ModelSpec((WIDTH - 1, 1)), np.zeros(WIDTH), rows, "mse", 1.0)
    return fixedpoint.encode(total, grid)


def canary(rounded, grid: int, customers: int = 1) -> int:
    """By how much the canary moves every coordinate of the silo's rounded sum."""
    rows = silo(grid, customers)
    moved = rounded(grid, rows) - rounded(grid, chosen(rows, [0]))
    assert len(set(moved.tolist())) == 1 and moved[0] != 0
    return abs(int(moved[0]))


def priced(shares: Shares, grid: int) -> tuple[Shares, tuple[float, ...]]:
    """The shares of noise with σ = .7 Δ2, and the ε of one round at each δ."""
    l2 = fixedpoint.l2_sensitivity(grid, Fraction(1), WIDTH)
    l1 = fixedpoint.l1_sensitivity(l2, WIDTH)
    sized = replace(shares, variance=fixedpoint.noise_scale(l2, MULTIPLIER) ** 2)
    of = Released(sampling_rate=1, l1=l1, l2=l2, dimension=WIDTH, epsilon=8)
    made = event(sized, of)
    return sized, tuple(accountant.epsilon([made], delta) for delta in DELTAS)


def attacked(shares: Shares, grid: int, rounded=sum_rounded_once, lost: int = 0) -> Attacked:
    """A round in which nothing is broken."""
    sized, claimed = priced(shares, grid)
    honest = sized.nodes - lost - sized.colluders
    return Attacked(sized.parts, honest, len(sized.layers) - lost, canary(rounded, grid), claimed)


def left(attack: Attacked, coordinates: int, size: int) -> np.ndarray:
    """The noise an attacker faces, summed over so many coordinates, [size] rounds.

    One node beside the honest is a colluder: its share is in the sum and taken off again, as are
    those of further colluders.
    """
    noise = np.zeros(size, np.int64)
    for node in range(attack.honest + 1):
        seeds = [secrets.token_bytes(32) for _ in attack.parts]
        drawn = list(zip(attack.parts, seeds, strict=True))
        told = drawn if node == attack.honest else drawn[len(drawn) - attack.removed :]
        for part, seed in drawn:
            noise += skellam.draw(coordinates * part, size, seed)
        for part, seed in told:
            noise -= skellam.draw(coordinates * part, size, seed)
    return noise


def lower_bound(plain: np.ndarray, moved: np.ndarray, delta: float) -> float:
    """ε that any mechanism must have that lets thresholds tell these scores apart so well.

    Thresholds are order statistics of one sample, so that what lies beyond them has a Beta
    distributed chance; the other sample is independent of them [Clopper, Pearson 1934]. Both ways
    round, as the canary may come or go.
    """
    best, size = 0.0, len(plain)
    plain, moved = np.sort(plain), np.sort(moved)
    for low, high in ((plain, moved), (-moved[::-1], -plain[::-1])):
        cuts = low[[size - round(size * 2.0 ** (-k / 2)) for k in range(4, 32)]]
        doubt = DOUBT / (2 * 2 * len(cuts))
        beyond = [size - np.searchsorted(scores, cuts, "right") for scores in (low, high)]
        most = beta.ppf(1 - doubt, beyond[0] + 1, size - beyond[0])
        least = beta.ppf(doubt, beyond[1], size - beyond[1] + 1)
        known = least > delta
        ratios = np.log((least[known] - delta) / most[known])
        best = max(best, *ratios) if len(ratios) else best
    return best


def found(attack: Attacked, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """The lower bound and the claim at every δ; with and without the canary in different rounds."""
    noise, half = left(attack, WIDTH, rounds), rounds // 2
    plain, moved = noise[:half], noise[half:] + attack.step * WIDTH
    return [
        (lower_bound(plain, moved, delta), claim)
        for delta, claim in zip(DELTAS, attack.claimed, strict=True)
    ]


def holds(attack: Attacked, rounds: int = ROUNDS) -> bool:
    return all(bound <= claim for bound, claim in found(attack, rounds))


ROUNDS_AS_BUILT = {
    "three nodes, fine grid": lambda: attacked(THREE, FINE),
    "three nodes, coarse grid": lambda: attacked(THREE, COARSE),
    "each unit rounded": lambda: attacked(THREE, FINE, unit_by_unit),
    "nobody lost, a layer removed": lambda: attacked(FOUR, FINE),
    "one of four lost": lambda: attacked(FOUR, FINE, lost=1),
    "three of eight lost": lambda: attacked(EIGHT, COARSE, lost=3),
}


@pytest.mark.parametrize("name", ROUNDS_AS_BUILT)
def test_no_attack_finds_more_than_the_price_and_none_is_idle(name: str) -> None:
    """The bound is near the claim, so that a mechanism a little worse would be found."""
    attack = ROUNDS_AS_BUILT[name]()
    bounds = found(attack)
    for bound, claim in bounds:
        assert bound <= claim
    assert bounds[1][0] > 0.7 * bounds[1][1]


def scaled(attack: Attacked, factor: Fraction) -> Attacked:
    return replace(attack, parts=tuple(part * factor for part in attack.parts))


@pytest.mark.parametrize("name", ROUNDS_AS_BUILT)
def test_noise_of_four_fifths_is_found(name: str) -> None:
    assert not holds(scaled(ROUNDS_AS_BUILT[name](), Fraction(16, 25)))


@pytest.mark.parametrize(("shares", "lost"), [(TWO_OF_FOUR, 0), (TWO_OF_FIVE, 1)])
def test_shares_for_all_nodes_and_not_for_the_honest_are_found(shares: Shares, lost: int) -> None:
    """σ²/n where σ²/(n - c) is due; of five with one lost, σ²/(n - 1)."""
    attack = attacked(shares, FINE, lost=lost)
    assert not holds(scaled(attack, Fraction(attack.honest, attack.honest + shares.colluders)))


def test_of_three_nodes_with_one_colluder_too() -> None:
    """Two thirds of the variance: so near that it takes four times the rounds."""
    assert not holds(scaled(attacked(THREE, FINE), Fraction(2, 3)), 4 * ROUNDS)


@pytest.mark.parametrize(("shares", "lost"), [(THREE, 0), (FOUR, 1)])
def test_a_missing_share_is_found(shares: Shares, lost: int) -> None:
    attack = attacked(shares, FINE, lost=lost)
    assert not holds(replace(attack, honest=attack.honest - 1))


def test_a_layer_removed_although_a_node_was_lost_is_found() -> None:
    attack = attacked(EIGHT, FINE, lost=3)
    assert attack.removed == 0
    assert not holds(replace(attack, removed=3))


def test_missing_clipping_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_sgd, "clipped", lambda gradients, _: gradients)
    assert not holds(attacked(THREE, FINE, unit_by_unit))


def test_rows_clipped_one_by_one_are_found() -> None:
    attack = attacked(THREE, FINE)
    assert not holds(replace(attack, step=canary(sum_rounded_once, FINE, customers=ROWS)))


def test_noise_for_the_clip_without_its_rounding_is_found() -> None:
    """Δ2 = s · C: half of what the canary moves at a coarse grid."""
    attack = attacked(THREE, COARSE)
    assert attack.step == 2
    l2 = fixedpoint.l2_sensitivity(COARSE, Fraction(1), WIDTH)
    assert not holds(scaled(attack, Fraction(COARSE**2, l2**2)))


def test_rounds_drawn_in_all_coordinates_hide_the_canary_as_the_projected_ones_do() -> None:
    """500 rounds of 4,097 coordinates each: shift over deviation is at most Δ2/σ, and near it."""
    most = 1 / float(MULTIPLIER)
    attack = attacked(FOUR, FINE, lost=1)
    scores = [left(attack, 1, WIDTH).sum() / math.sqrt(WIDTH) for _ in range(500)]
    spread, shift = float(np.std(scores)), attack.step * math.sqrt(WIDTH)
    allowed = 6 * math.sqrt(1 / (2 * 500))
    assert 0.9 - allowed < shift / spread / most < 1 + allowed
    thin = scaled(attack, Fraction(16, 25))
    scores = [left(thin, 1, WIDTH).sum() / math.sqrt(WIDTH) for _ in range(500)]
    assert shift / float(np.std(scores)) / most > 1
