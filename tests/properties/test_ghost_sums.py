"""Ghost clipping: a unit's integers are its own, at most a clip long, and near its true gradient.

Both precisions run on every model, whatever its size, and so do both ways: what is compiled, and
arrays alone.
"""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule

from clients.training import compiled, ghost, private_sgd
from clients.training.exact import DOUBLE, SINGLE
from clients.training.gradients import grouped
from clients.training.losses import row_losses
from clients.training.network import Network, Part, parts
from federation.models import ModelSpec
from federation.recipes import Recipe
from tests.steps import batch as made_batch
from tests.steps import chosen, clipped_units

SHAPES = [(5, 1), (6, 7, 1), (5, 12, 8, 1), (4, 9, 6, 5, 1), (4, 5, 1, 1), (1, 1, 1)]


@pytest.fixture(params=["single", "double", "single-arrays", "double-arrays"])
def precision(request, monkeypatch):
    precision, _, arrays = request.param.partition("-")
    for name in ("SMALL", "LARGE"):
        monkeypatch.setattr(ghost, name, 0 if precision == "single" else 1 << 62)
    if arrays:
        monkeypatch.setattr(compiled, "kernels", lambda: None)
    return precision


def recipe(model: ModelSpec, clip: str = "1", grid: int = 4096, loss: str = "mse") -> Recipe:
    return Recipe(
        model=model,
        loss=loss,
        rounds=1,
        steps=1,
        sampling_rate=Decimal(1),
        clip=Decimal(clip),
        noise_multiplier=Decimal(1),
        grid=grid,
        learning_rate=Decimal(1),
        expected_units=10,
        rows_per_unit=8,
    )


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def added(many: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [sum(layer[1:], layer[0]) for layer in zip(*many, strict=True)]


def square_of(agreed: Recipe, sums: list[np.ndarray]) -> Fraction:
    """The squared norm of a share, exactly, in units of 1.0."""
    total = Fraction(0)
    for layer, grid in zip(sums, ghost.layer_grids(agreed), strict=True):
        whole = sum(int(x) ** 2 for x in layer.ravel())
        total += Fraction(whole) / Fraction(grid.steps) ** 2
    return total


fixtures_are_constant = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fixtures_are_constant
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.integers(-60, 60),
    layers=st.sampled_from(SHAPES),
    activation=st.sampled_from(["relu", "tanh"]),
    loss=st.sampled_from(["bce", "huber", "mse"]),
    units=st.integers(1, 40),
    poison=st.sampled_from([0.0, np.nan, np.inf, 1e250, 1e15]),
)
def test_a_unit_adds_the_same_integers_whoever_stands_beside_it(
    precision, seed, exponent, layers, activation, loss, units, poison
):
    """Also for weights that make every ReLU and every sum cancel to its last bit."""
    generator = np.random.default_rng(seed)
    agreed = recipe(ModelSpec(layers, activation), loss=loss)
    weights = generator.choice([-1.0, 1.0], agreed.model.dimension) * 2.0**exponent
    weights += generator.normal(size=agreed.model.dimension)
    features = generator.choice([-1.0, 1.0, 0.1], (units, 3, layers[0]))
    features += generator.normal(size=features.shape) * 2.0**-20
    features[generator.integers(units), 0, 0] += poison
    many = made_batch(
        features, generator.integers(0, 2, (units, 3)), generator.random((units, 3)) < 0.7
    )
    order = generator.permutation(units).tolist()
    alone = [ghost.exact_sums(agreed, weights, chosen(many, [unit])) for unit in order]
    for count in (1, max(units // 2, 1), units):
        together = ghost.exact_sums(agreed, weights, chosen(many, order[:count]))
        assert same(together, added(alone[:count]))
    assert all(square_of(agreed, share) <= 1 for share in alone)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layers", [(33, 16, 1), (5, 300, 1), (5, 40, 30, 1)])
def test_a_units_place_in_a_block_and_the_number_of_blocks_change_no_bit(
    precision, layers, activation
):
    generator = np.random.default_rng(5)
    agreed = recipe(ModelSpec(layers, activation), "0.5", 2**30, "bce")
    weights = generator.normal(size=agreed.model.dimension) * 2.0**20
    one = generator.normal(size=(1, 4, layers[0]))
    alone = ghost.exact_sums(agreed, weights, made_batch(one, np.ones((1, 4)), np.ones((1, 4))))
    assert any(layer.any() for layer in alone)
    for others in (1, 3, 40, 500):
        crowd = generator.normal(size=(others, 4, layers[0]))
        for place in sorted({0, others // 2, others}):
            features = np.insert(crowd, place, one[0], axis=0)
            there = np.arange(others + 1) == place
            with_one = made_batch(features, np.ones((others + 1, 4)), np.ones((others + 1, 4)))
            rest = ghost.exact_sums(
                agreed, weights, chosen(with_one, np.flatnonzero(~there).tolist())
            )
            assert same(ghost.exact_sums(agreed, weights, with_one), added([rest, alone]))


def test_blocks_end_with_their_units_however_many_rows_each_has():
    agreed = recipe(ModelSpec((3, 2, 1)))
    for rows, units, lanes in ((1, 24, 40), (1, 1000, 1032), (2, 33, 72), (2000, 1, 40)):
        batch = made_batch(np.ones((units, rows, 3)), *np.ones((2, units, rows)))
        for fused in (False, True):
            found = grouped(batch, partial(ghost._lanes, agreed, fused), ghost._STEP)
            assert [block.present.shape[1] for block in found] == [lanes]


def test_who_goes_the_compiled_way_stands_in_tiles():
    batch = made_batch(np.ones((2100, 1, 3)), *np.ones((2, 2100, 1)))
    found = grouped(batch, partial(ghost._lanes, recipe(ModelSpec((3, 2, 1))), True), ghost._STEP)
    assert [block.present.shape[1] for block in found] == [1032, 1032, 72]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_hidden_sums_that_cancel_are_the_same_beside_anybody(precision, activation, rows):
    """Weights as a hostile letter would choose them: kinks at everybody's own row."""
    generator = np.random.default_rng(11)
    agreed = recipe(ModelSpec((33, 8, 1), activation), "1", 65536)
    weights = generator.normal(size=agreed.model.dimension)
    weights[: 33 * 8] *= 2.0**20
    features = generator.normal(size=(70, rows, 33))
    for row in range(8):  # in each unit's first row, one hidden sum cancels
        first = weights[33 * row : 33 * row + 33]
        mine = features[row::8, 0]
        mine[:, -1] = -(mine[:, :-1] @ first[:-1]) / first[-1]
    batch = made_batch(features, generator.normal(size=(70, rows)), np.ones((70, rows)))
    alone = [ghost.exact_sums(agreed, weights, chosen(batch, [u])) for u in range(70)]
    for count in (2, 3, 4, 5, 9, 70):
        together = ghost.exact_sums(agreed, weights, chosen(batch, list(range(count))))
        assert same(together, added(alone[:count]))


@fixtures_are_constant
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 6),
    grid=st.sampled_from([1, 16, 4096, 65536, 2**32]),
    clip=st.sampled_from(["0.01", "1", "2.5"]),
    layers=st.sampled_from([(5, 1), (5, 40, 1), (5, 12, 8, 1)]),
    activation=st.sampled_from(["relu", "tanh"]),
    kind=st.sampled_from(["any", "equal", "opposite"]),
)
def test_adding_or_removing_a_unit_moves_the_sum_by_at_most_the_sensitivity(
    precision, seed, size, grid, clip, layers, activation, kind
):
    generator = np.random.default_rng(seed)
    agreed = recipe(ModelSpec(layers, activation), clip, grid)
    weights = generator.normal(size=agreed.model.dimension)
    features = generator.normal(size=(9, 8, 5)) * 10.0 ** (size / 2)
    targets = generator.normal(size=(9, 8)) * 10.0 ** (size / 2)
    if kind != "any":  # the last unit: K equal rows, or rows that nearly cancel
        features[-1], targets[-1] = features[-1, :1], targets[-1, :1]
    if kind == "opposite":
        outputs_apart = generator.normal(size=4) * 10.0**size
        targets[-1] = np.concatenate([outputs_apart, -outputs_apart])
    batch = made_batch(features, targets, generator.random((9, 8)) < 0.9)
    with_them = ghost.rounded_sum(agreed, weights, batch)
    without = ghost.rounded_sum(agreed, weights, chosen(batch, list(range(8))))
    moved = (with_them - without).astype(object)
    assert (moved**2).sum() <= agreed.sensitivity**2
    share = ghost.exact_sums(agreed, weights, chosen(batch, [8]))
    assert square_of(agreed, share) <= Fraction(clip) ** 2


def test_rounding_lifts_nobody_above_the_clip(precision):
    """Slopes all alike, a half step above an integer: rounding would add a tenth to the norm."""
    agreed = recipe(ModelSpec((6, 256, 1)))
    weights = np.zeros(agreed.model.dimension)
    layer, last = agreed.model.split(weights)
    layer[0][:, 0], layer[1][:], last[0][:] = 1.0, np.linspace(-2.0, 0.0, 256), 1.0
    features = np.zeros((200, 1, 6))
    features[:, 0, 0] = np.linspace(0.01, 2.0, 200)  # as many neurons open as this says
    batch = made_batch(features, np.full((200, 1), -1e6), np.ones((200, 1)))
    longest, some = Fraction(0), list(range(0, 200, 1 if precision == "single" else 20))
    alone = [ghost.exact_sums(agreed, weights, chosen(batch, [unit])) for unit in some]
    for share in alone:
        square = square_of(agreed, share)
        longest = max(longest, square)
        assert square > Fraction(6, 10)
    assert Fraction(95, 100) < longest <= 1
    # Whoever is cut once more is so by itself, however many others are.
    for count in (2, 3, 7, len(some)):
        together = ghost.exact_sums(agreed, weights, chosen(batch, some[-count:]))
        assert same(together, added(alone[-count:]))


def test_rows_that_cancel_are_still_within_the_clip(precision):
    """Huge rows whose sum is next to nothing: what float arithmetic errs by is accounted for."""
    agreed = recipe(ModelSpec((6, 9, 1)))
    generator = np.random.default_rng(2)
    weights = generator.normal(size=agreed.model.dimension)
    features = np.repeat(generator.normal(size=(40, 1, 6)), 8, axis=1)
    features += generator.normal(size=features.shape) * np.geomspace(1e-8, 1, 40)[:, None, None]
    targets = np.tile([1e7, -1e7], (40, 4))
    batch = made_batch(features, targets, np.ones((40, 8)))
    alone = [ghost.exact_sums(agreed, weights, chosen(batch, [unit])) for unit in range(40)]
    assert all(square_of(agreed, share) <= 1 for share in alone)
    assert same(ghost.exact_sums(agreed, weights, batch), added(alone))


@pytest.mark.parametrize(
    ("layers", "chosen_precision"),
    [
        ((30, 64, 32, 1), SINGLE),
        ((30, 31, 1), DOUBLE),  # 993 weights
        ((15, 64, 32, 1), DOUBLE),
        ((64, 32, 15, 1), DOUBLE),
        ((15, 256, 128, 1), SINGLE),
    ],
)
def test_single_precision_is_for_networks_that_are_large_or_not_narrow(layers, chosen_precision):
    """A layer of few inputs has a coarse grid: what is lost there is not worth the time."""
    assert ghost.model_precision(recipe(ModelSpec(layers))) is chosen_precision


@pytest.mark.parametrize("layers", [(5, 1), (32, 256, 128, 1), (900, 900, 1)])
@pytest.mark.parametrize("grid", [1, 4096, 2**32])
@pytest.mark.parametrize("clip", ["0.01", "1", "2.5"])
def test_a_row_within_the_clip_fits_a_product(precision, layers, grid, clip):
    for one in ghost.layer_grids(recipe(ModelSpec(layers), clip, grid)):
        assert 0 < one.clip <= 2.0 ** (one.precision.bits - 2)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_the_bound_of_a_norm_is_above_it_however_much_cancels(rows):
    """Dot products of single precision err; rows that take each other away leave the error."""
    generator = np.random.default_rng(rows)
    shape = (1024, rows, 24)
    inputs = generator.choice([-64.0, 64.0], (1024, 1, 24)).repeat(rows, 1)  # norms are reach
    slopes = np.rint(generator.normal(size=shape) * 3000)
    for row in range(1, rows, 2):  # the other sign, and one entry in a hundred is another
        slopes[:, row] = (generator.random((1024, 24)) < 0.01) - slopes[:, row - 1]
    grid = ghost.Grid(0, 1.0, 1.0, SINGLE)
    found = [Part(inputs.astype(np.float32), slopes.astype(np.float32), np.ones((rows, 24)))]
    grams = ghost._Grams(found, [grid], SINGLE)
    loads = grams.loads([found[0].slopes], np.ones((1, rows, 24)))
    for lane in range(24):
        share = slopes[:, :, lane] @ inputs[:, :, lane].T  # integers below 2^53
        assert loads[lane] >= np.linalg.norm(share)


def test_who_is_still_above_the_clip_after_a_cut_counts_as_nothing():
    """Two rows that take each other away but for 1: cut towards 0, they are as far apart."""
    generator = np.random.default_rng(3)
    inputs = generator.choice([-64.0, 64.0], (1024, 1, 16)).repeat(2, 1)  # norms are reach
    slopes = generator.integers(5, 20, (1024, 2, 16)).astype(np.float32)
    slopes[:, 1] = 1 - slopes[:, 0]
    slopes[:, :, 8:], slopes[:200, 0, 8:] = 0.0, 3.0  # of norm 42, and 28 once they are cut
    clip = 31.0 * SINGLE.reach  # below √1024 = 32
    found = [Part(inputs.astype(np.float32), slopes, np.ones((2, 16)))]
    grams = ghost._Grams(found, [ghost.Grid(0, 1.0, clip, SINGLE)], SINGLE)
    (held,) = ghost._held([slopes.copy()], grams, SINGLE)
    assert not held[:, :, :8].any()
    assert (held[:200, 0, 8:] == 2.0).all()
    assert (grams.loads([held], np.ones((1, 2, 16))) <= 1.0).all()


def test_what_is_above_the_clip_is_cut_back_and_what_stays_above_counts_as_nothing(precision):
    generator = np.random.default_rng(4)
    agreed = recipe(ModelSpec((6, 400, 30, 1)))
    chosen_precision, grids = ghost.model_precision(agreed), ghost.layer_grids(agreed)
    network = Network.of(
        agreed.model, generator.normal(size=agreed.model.dimension), chosen_precision
    )
    for rows in (1, 4):
        batch = made_batch(
            generator.normal(size=(8, rows, 6)), np.full((8, rows), -99), np.ones((8, rows))
        )
        (block,) = grouped(batch, lambda _: 16, None, chosen_precision.dtype, spare=1)
        found = parts(network, block, "mse")
        shares = ghost.clipped_shares(found, grids, chosen_precision)
        grams = ghost._Grams(found, grids, chosen_precision)
        ones = np.ones((3, rows, 16))
        assert (grams.loads(shares, ones)[:8] > 0.95).all()
        longer = [np.rint(share * np.array([1.0] * 4 + [1.7] * 12)) for share in shares]
        held = ghost._held(longer, grams, chosen_precision)
        loads = grams.loads(held, ones)
        assert (loads[:8] > 0.9).all() and (loads <= 1.0).all()
        for before, after in zip(shares, held, strict=True):
            assert np.array_equal(before[:, :, :4], after[:, :, :4])


def widened(layers: tuple[int, ...], precision: str) -> tuple[int, ...]:
    """Layers of so many parameters that single precision is for them."""
    wider = tuple(30 * width for width in layers[1:-1])
    return (layers[0], *wider, 1) if precision == "single" else layers


@pytest.mark.parametrize("loss", ["bce", "huber", "mse"])
@pytest.mark.parametrize("layers", [(7, 1), (7, 12, 1), (7, 9, 6, 1), (7, 6, 5, 4, 1)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("clip", ["0.3", "10"])
def test_every_units_share_is_near_its_clipped_gradient(precision, loss, layers, activation, clip):
    """Against the program that goes lane by lane in float64 and forms every gradient."""
    generator = np.random.default_rng(1)
    model = ModelSpec(widened(layers, precision), activation)
    agreed = recipe(model, clip, 2**20, loss)
    weights = model.init(1).astype(float)
    weights += generator.normal(size=model.dimension) * 0.1
    units = 8 if precision == "single" else 30
    batch = made_batch(
        generator.normal(size=(units, 5, 7)),
        generator.integers(0, 2, (units, 5)),
        generator.random((units, 5)) < 0.8,
    )
    expected = clipped_units(model, weights, batch, loss, float(clip))
    found = np.array(
        [
            ghost.rounded_sum(agreed, weights, chosen(batch, [unit])) / agreed.grid
            for unit in range(units)
        ]
    )
    away, length = found - expected, np.linalg.norm(expected)
    if precision == "single":  # each is off, but not shorter or longer
        assert (np.linalg.norm(away, axis=1) <= 0.25 * float(clip)).all()
        assert abs((away * expected).sum()) <= 0.02 * length**2
    else:
        assert (np.linalg.norm(away, axis=1) <= 2.0**-11 * float(clip)).all()
    together = ghost.rounded_sum(agreed, weights, batch) / agreed.grid
    assert np.linalg.norm(together - found.sum(0)) <= units * np.sqrt(model.dimension) * 2.0**-20


def test_the_shipped_choice_of_precision_is_near_the_lanes():
    generator = np.random.default_rng(9)
    for layers, within in (((9, 16, 1), 1e-3), ((32, 256, 128, 1), 0.05)):
        agreed = recipe(ModelSpec(layers), "1", 65536, "bce")
        weights = agreed.model.init(3).astype(float)
        weights[-layers[-2] - 1 :] = generator.normal(size=layers[-2] + 1) * 0.3
        batch = made_batch(
            generator.normal(size=(60, 2, layers[0])),
            generator.integers(0, 2, (60, 2)),
            np.ones((60, 2)),
        )
        lanes = private_sgd.rounded_sum(agreed, weights, batch)
        found = ghost.rounded_sum(agreed, weights, batch)
        assert np.linalg.norm(found - lanes) <= within * np.linalg.norm(lanes)


def test_a_unit_of_equal_rows_is_clipped_once(precision):
    agreed = recipe(ModelSpec(widened((4, 15, 2, 1), precision)), "0.01", 2**20)
    generator = np.random.default_rng(3)
    weights = agreed.model.init(2) + generator.normal(size=agreed.model.dimension) * 0.1
    row = generator.normal(size=(1, 1, 4)) * 5
    eight = made_batch(row.repeat(8, 1), np.full((1, 8), -3.0), np.ones((1, 8)))
    single = made_batch(row, np.full((1, 1), -3.0), np.ones((1, 1)))
    many = ghost.exact_sums(agreed, weights, eight)
    once = ghost.rounded_sum(agreed, weights, single) / agreed.grid
    assert square_of(agreed, many) <= Fraction("0.01") ** 2
    found = ghost.rounded_sum(agreed, weights, eight) / agreed.grid
    assert np.linalg.norm(found - once) <= 0.15 * np.linalg.norm(once)


def test_a_clipped_sum_agrees_with_opacus(precision):
    model = ModelSpec(widened((6, 14, 10, 1), precision))
    generator = np.random.default_rng(6)
    weights = model.init(5) + generator.normal(size=model.dimension) * 0.1
    features = generator.normal(size=(64, 1, 6))
    targets = generator.integers(0, 2, (64, 1)).astype(float)
    layers: list[torch.nn.Module] = []
    for matrix, bias in model.split(weights):
        linear = torch.nn.Linear(*reversed(matrix.shape)).double()
        linear.weight.data, linear.bias.data = torch.tensor(matrix), torch.tensor(bias)
        layers += [linear, torch.nn.ReLU()]
    module = GradSampleModule(torch.nn.Sequential(*layers[:-1]), loss_reduction="sum")
    outputs = module(torch.from_numpy(features[:, 0]))[:, 0]
    row_losses(outputs, torch.from_numpy(targets[:, 0]), "bce").sum().backward()
    samples = torch.cat([p.grad_sample.flatten(1) for p in module.parameters()], dim=1)
    # Opacus (optimizers/optimizer.py, clip_and_accumulate) divides by norm + 1e-6.
    factors = (0.3 / (samples.norm(dim=1) + 1e-6)).clamp(max=1.0)
    assert (factors < 1).any()
    expected = (samples * factors[:, None]).sum(0).numpy()
    agreed = recipe(model, "0.3", 2**20, "bce")
    batch = made_batch(features, targets, np.ones((64, 1)))
    ours = ghost.rounded_sum(agreed, weights, batch) / agreed.grid
    within = 0.04 if precision == "single" else 3e-4
    assert np.linalg.norm(ours - expected) <= within * np.linalg.norm(expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e250])
def test_a_unit_that_is_not_finite_adds_nothing(precision, value):
    generator = np.random.default_rng(8)
    agreed = recipe(ModelSpec((4, 30, 20, 1)))
    weights = generator.normal(size=agreed.model.dimension)
    features, targets = generator.normal(size=(9, 2, 4)), generator.normal(size=(9, 2))
    rest = made_batch(features[1:], targets[1:], np.ones((8, 2)))
    for place in ("features", "targets"):
        spoiled = made_batch(features.copy(), targets.copy(), np.ones((9, 2)))
        getattr(spoiled, place)[0, 0] = value
        expected = ghost.exact_sums(agreed, weights, rest)
        if place == "features" or not np.isfinite(value):
            assert same(ghost.exact_sums(agreed, weights, spoiled), expected)


def test_absent_rows_are_not_read(precision):
    generator = np.random.default_rng(8)
    agreed = recipe(ModelSpec((4, 30, 20, 1)))
    weights = generator.normal(size=agreed.model.dimension)
    features, targets = generator.normal(size=(9, 4, 4)), generator.normal(size=(9, 4))
    present = generator.random((9, 4)) < 0.5
    sums = ghost.exact_sums(agreed, weights, made_batch(features, targets, present))
    features[~present], targets[~present] = 7.0, -5.0
    assert same(ghost.exact_sums(agreed, weights, made_batch(features, targets, present)), sums)


def test_lanes_that_hold_nobody_make_no_sum_look_large(precision):
    """Where 1 is all that enters a layer, it is as long as a row may be."""
    agreed = recipe(ModelSpec((4, 30, 20, 1)))
    weights = np.random.default_rng(8).normal(size=agreed.model.dimension)
    chosen_precision = ghost.model_precision(agreed)
    network = Network.of(agreed.model, weights, chosen_precision)
    batch = made_batch(np.ones((9, 2, 4)), np.ones((9, 2)), np.tile([True, False], (9, 1)))
    (block,) = grouped(batch, lambda _: 32, None, chosen_precision.dtype, spare=1)
    for part in parts(network, block, "mse"):
        assert np.array_equal(part.inputs[-1] > 0, block.present)


def test_a_one_whose_square_is_no_normal_float_lifts_nobody_above_the_clip(precision):
    """A row so large that 1 beside it is 10^-162 when it comes to the fourth layer, all silent."""
    agreed = recipe(ModelSpec((2, 2, 2, 2, 2, 2, 1)))
    matrices = [2.0**19] * 3 + [-1e60, 1.0, 1.0]
    weights = np.concatenate(
        [
            np.append(np.eye(m, n) * by, np.full(m, float(place > 3)))
            for place, ((m, n), by) in enumerate(zip(agreed.model.shapes(), matrices, strict=True))
        ]
    )
    for size in 10.0 ** np.arange(97.0, 103.0, 0.02):
        batch = made_batch([[[size, size]]], [[-1e3]], [[1]])
        assert square_of(agreed, ghost.exact_sums(agreed, weights, batch)) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_weights_that_no_float_holds_add_up_to_nothing(value, precision):
    agreed = recipe(ModelSpec((4, 3, 1)))
    weights = np.ones(agreed.model.dimension)
    weights[2] = value
    batch = made_batch(np.ones((3, 1, 4)), np.ones((3, 1)), np.ones((3, 1)))
    assert not ghost.rounded_sum(agreed, weights, batch).any()


def test_an_empty_batch_sums_to_zero(precision):
    agreed = recipe(ModelSpec((4, 3, 1)))
    empty = made_batch(np.zeros((0, 2, 4)), np.zeros((0, 2)), np.zeros((0, 2)))
    assert not ghost.rounded_sum(agreed, np.ones(agreed.model.dimension), empty).any()


@pytest.mark.parametrize("grid", [3, 4096, 2**32])
def test_a_sum_in_portions_is_rounded_once(precision, grid, monkeypatch):
    generator = np.random.default_rng(12)
    agreed = recipe(ModelSpec((4, 3, 1)), grid=grid)
    weights = generator.normal(size=agreed.model.dimension)
    batch = made_batch(
        generator.normal(size=(50, 2, 4)), generator.normal(size=(50, 2)), np.ones((50, 2))
    )
    whole = ghost.rounded_sum(agreed, weights, batch)
    fine = ghost.exact_sums(agreed, weights, batch)
    exact = [
        np.array([Fraction(int(x)) / Fraction(2) ** g.shift for x in part])
        for layer, g in zip(fine, ghost.layer_grids(agreed), strict=True)
        for part in (layer[:, :-1].ravel(), layer[:, -1])
    ]
    assert max(abs(np.concatenate(exact) - whole)) <= Fraction(1, 2)
    monkeypatch.setattr(ghost, "_AT_ONCE", 7)
    assert np.array_equal(ghost.rounded_sum(agreed, weights, batch), whole)


def test_a_private_step_of_a_network_is_a_ghost_sum_and_noise(monkeypatch):
    agreed = replace(recipe(ModelSpec((4, 3, 1))), noise_multiplier=Decimal("0.000000001"))
    generator = np.random.default_rng(1)
    weights = generator.normal(size=agreed.model.dimension)
    batch = made_batch(
        generator.normal(size=(20, 2, 4)), generator.normal(size=(20, 2)), np.ones((20, 2))
    )
    monkeypatch.setattr(
        private_sgd.noise, "discrete_gaussian", lambda scale, size, _: np.full(size, scale)
    )
    noised = private_sgd.noised_sum(agreed, weights, batch, None)
    expected = ghost.rounded_sum(agreed, weights, batch) + agreed.noise_scale
    assert np.array_equal(noised * agreed.grid, expected)
