"""Groups of a round: which are refused and why, what they cost, and how they stand in an order."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from experiments import poisoning
from experiments.circle import Circle
from experiments.errors import UsageError
from experiments.federating import federate
from experiments.ordering import for_nodes
from experiments.poisoning import poisoned
from experiments.settings import compose
from experiments.simulate_view import _bounded, _poisoned
from federation.boosted import Boosted
from federation.errors import MalformedOrderError
from federation.evaluation import ScoreSums
from federation.groups import FEWEST_GROUPED, Total, fewest_in_a_group, fewest_nodes, require_groups
from federation.recipes import Recipe
from federation.secure_sums import divided, fewest_sums, made_of
from federation.sum_recipes import SumRecipe
from federation.tasks import TrainingTask, is_same
from policies.parties import PartyId
from secure_compute import canonical
from secure_compute.entropy import SystemEntropy
from secure_compute.secagg.params import least_threshold
from tests.simulator import sum_recipe
from tests.unit.test_poisoning import by_unit, drawn, study_of

TWENTY = tuple(f"party-{number:02}" for number in range(20))
GROUPED = sum_recipe(nodes=20, groups=4, trimmed=1)
MEASURED = {"holdout": Decimal("0.5"), "evaluation": ScoreSums(8, 2)}


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"nodes": 19}, "for 20 nodes or more, not 19"),
        ({"nodes": 8, "groups": 2, "trimmed": 0}, "for 20 nodes or more, not 8"),
        ({"groups": 1}, "trimming drops groups and there is one"),
        ({"trimmed": 2}, "trimming 2 at each end leaves none of 4 groups.*groups to 5 or more"),
        ({"groups": 7, "trimmed": 2}, "7 groups of 20 nodes have 2 in one and, with 1 that may"),
        ({"colluding": 4}, "have 5 in one and, with 4 that may collude, all in one group, each ne"),
        ({"groups": 43, "trimmed": 1}, "groups must be above 0 and at most 42"),
        ({"groups": 0, "trimmed": 0}, "groups must be above 0"),
        ({"trimmed": 21}, "trimmed must be 0 or more and at most 20"),
    ],
)
def test_groups_that_protect_or_bound_nothing_are_refused_by_name(changes, why):
    with pytest.raises(MalformedOrderError, match=why):
        sum_recipe(**{"nodes": 20, "groups": 4, "trimmed": 1, **changes})


def test_every_reason_is_told_at_once():
    with pytest.raises(MalformedOrderError) as why:
        require_groups(12, 3, 4, 2)
    for part in ("leaves none of 4", "20 nodes or more, not 12", "have 3 in one", "needs 5"):
        assert part in str(why.value)


@pytest.mark.parametrize("colluding", range(1, 20))
def test_the_smallest_group_is_the_first_whose_threshold_leaves_two_honest_inputs(colluding):
    least = fewest_in_a_group(colluding)
    assert least_threshold(least, colluding) - colluding >= 2
    assert least_threshold(least - 1, colluding) - colluding < 2
    smallest = sum_recipe(nodes=least, colluding=colluding)
    assert smallest.parameters(least).threshold <= least


def test_twenty_nodes_are_enough_and_no_fewer():
    assert FEWEST_GROUPED == 20 and fewest_nodes(4, 1) == 20 and fewest_nodes(10, 1) == 30
    assert sum_recipe(nodes=20, groups=6, trimmed=2).groups == 6
    with pytest.raises(UsageError, match=r"20 nodes or more, not 19.*cohort\.parties"):
        for_nodes(TrainingTask("fraud", 1, 0, GROUPED), 19)


# -- what they cost --------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [2, 4, 6])
def test_a_unit_pays_for_one_sum_however_many_groups_there_are(groups):
    plain = sum_recipe(nodes=20)
    assert replace(plain, groups=groups).event() == plain.event()
    assert replace(plain, groups=groups).noise_scale == plain.noise_scale


def test_the_price_covers_every_size_that_a_group_may_have():
    from federation.shares import Released, event
    from federation.sum_recipes import MOST_EPSILON
    from secure_compute import fixedpoint

    recipe = GROUPED
    dearest = recipe.event()
    l1 = fixedpoint.l1_sensitivity(recipe.sensitivity, recipe.widest)
    released = Released(
        sampling_rate=recipe.sampling_rate,
        l1=l1,
        l2=recipe.sensitivity,
        dimension=recipe.widest,
        epsilon=MOST_EPSILON,
    )
    for size in range(recipe.fewest(), 21):
        one = event(recipe.shares(recipe.parameters(size)), released)
        assert one.event == dearest.event and one.delta <= dearest.delta


def test_no_group_is_below_the_orders_minimum():
    assert GROUPED.least(3) == 12 and GROUPED.least(5) == 20
    assert GROUPED.least_of_a_sum(1) == 3  # c + 2
    assert sum_recipe(nodes=20).least(3) == 3
    assert GROUPED.parameters(5, 5).threshold == 5


# -- an evaluation ---------------------------------------------------------------------------------


def test_a_measure_is_one_sum_over_all_and_never_trimmed():
    recipe = sum_recipe(nodes=20, groups=4, trimmed=1, **MEASURED)
    last = recipe.rounds - 1
    assert [recipe.sums(number) for number in range(recipe.rounds)] == [4, 4, 4, 1]
    assert [fewest_sums(recipe, number) for number in range(recipe.rounds)] == [3, 3, 3, 1]
    circle = Circle(TWENTY, SystemEntropy())
    assert len(divided(circle._epoch, "order", recipe, last, TWENTY)) == 1
    values = [np.full(3, float(place)) for place in (0, 1, 5)]
    sums = [Total(one, 1.0, 5) for one in values]
    assert made_of(recipe, last, sums).values.tolist() == [6.0] * 3
    assert made_of(recipe, 0, sums).values.tolist() == [3.0] * 3  # the middle one, for fifteen


# -- who sums with whom ----------------------------------------------------------------------------


def test_the_division_is_of_the_order_the_round_and_the_keys_and_anew_each_time():
    one, other = (Circle(TWENTY, SystemEntropy())._epoch for _ in range(2))
    again = divided(one, "order", GROUPED, 0, TWENTY)
    assert divided(one, "order", GROUPED, 0, tuple(reversed(TWENTY))) == again
    others = [
        divided(one, "order", GROUPED, 1, TWENTY),
        divided(one, "another", GROUPED, 0, TWENTY),
        divided(other, "order", GROUPED, 0, TWENTY),
    ]
    assert all(set(map(frozenset, each)) != set(map(frozenset, again)) for each in others)
    assert sorted(party for group in again for party in group) == sorted(TWENTY)


def test_a_party_named_twice_would_be_in_two_groups_and_is_refused():
    epoch = Circle(TWENTY, SystemEntropy())._epoch
    with pytest.raises(MalformedOrderError, match="twice"):
        divided(epoch, "order", GROUPED, 0, (*TWENTY, TWENTY[0]))


# -- in an order -----------------------------------------------------------------------------------


def test_groups_stand_in_the_canonical_form_where_there_are_any():
    plain = sum_recipe(nodes=20)
    assert not {"groups", "trimmed", "horizons"} & set(plain.to_json())
    value = GROUPED.to_json()
    assert (value["groups"], value["trimmed"]) == (4, 1)
    assert SumRecipe.from_json(value) == GROUPED
    assert "trimmed" not in replace(GROUPED, trimmed=0).to_json()
    canonical.encode(value)


@pytest.mark.parametrize(
    "change", [{"groups": 1}, {"trimmed": 0}, {"groups": "4"}, {"groups": True}, {"groups": 4.0}]
)
def test_groups_have_one_spelling(change):
    with pytest.raises(MalformedOrderError):
        SumRecipe.from_json({**sum_recipe(nodes=20).to_json(), **change})


def test_an_order_for_too_few_nodes_is_refused_when_it_is_read():
    with pytest.raises(MalformedOrderError, match="20 nodes or more"):
        SumRecipe.from_json({**GROUPED.to_json(), "nodes": 16})


def test_a_run_goes_on_with_the_groups_it_began_with():
    task = TrainingTask("fraud", 1, 0, GROUPED)
    more = replace(task, recipe=replace(GROUPED, nodes=40))
    assert is_same(task, more)
    assert not is_same(task, replace(task, recipe=replace(GROUPED, groups=5)))
    assert not is_same(task, replace(task, recipe=replace(GROUPED, trimmed=0)))


# -- by configuration ------------------------------------------------------------------------------


def test_groups_are_configured():
    recipe = compose(["experiment=fraud", "model.groups=4", "model.trimmed=1"]).task.recipe
    assert (recipe.groups, recipe.trimmed, recipe.nodes) == (4, 1, 20)
    assert compose(["experiment=fraud"]).task.recipe.nodes == 16
    many = compose(["experiment=fraud", "model.groups=40", "model.trimmed=1"]).task.recipe
    assert many.nodes == 120
    boosted = compose(["experiment=fraud_boosted", "model.groups=4", "model.trimmed=1"])
    assert isinstance(boosted.task.recipe.method, Boosted) and boosted.task.recipe.groups == 4


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["experiment=fraud", "model.trimmed=1"], "trimming drops groups and there is one"),
        (["experiment=fraud", "model.groups=4", "model.trimmed=2"], "leaves none of 4 groups"),
        (
            ["experiment=fraud", "model.groups=40", "privacy.colluding=3"],
            "40 groups of 128 nodes have 3 in one",
        ),
        (["experiment=fraud_fedavg", "+model.groups=4"], "groups are of secure sums"),
        (["experiment=fraud_fedavg", "+model.trimmed=1"], "groups are of secure sums"),
    ],
)
def test_configured_groups_are_refused_by_name(words, why):
    with pytest.raises(UsageError, match=why):
        compose(words)


# -- simulated -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd():
    """Twenty-one parties of sixty customers, and settings of three rounds in five groups."""
    words = [
        "experiment=fraud", "model.rounds=3", "model.moments=1", "privacy.expected_units=1260",
        "privacy.rows_per_unit=1", "privacy.epsilon=8", "model.ridge=10", "model.learning_rate=2",
        "model.groups=5", "model.trimmed=1",
    ]  # fmt: skip
    settings = compose(words)
    inputs = settings.task.recipe.model.layers[0]
    return settings, {PartyId(f"shop-{place:02}"): drawn(60, inputs, place) for place in range(21)}


def units(rows):
    return {party: by_unit(*part) for party, part in rows.items()}


def angle(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_louder_party_does_not_turn_a_simulated_model_that_trims(crowd):
    settings, rows = crowd[0], units(crowd[1])
    loud = {PartyId("shop-03"): 1000}
    one_sum = replace(settings.task, recipe=replace(settings.task.recipe, groups=1, trimmed=0))
    calm = federate(one_sum, rows, private=True, noised=False)
    trimmed = federate(settings.task, rows, private=True, noised=False, louder=loud)
    moved = federate(one_sum, rows, private=True, noised=False, louder=loud)
    honest = federate(settings.task, rows, private=True, noised=False)
    assert angle(calm, honest) > 0.97 and angle(calm, trimmed) > 0.9
    assert np.linalg.norm(moved - calm) > 5 * np.linalg.norm(trimmed - calm)


def test_masks_and_noise_go_round_in_groups_too(crowd):
    settings, rows = crowd[0], units(crowd[1])
    weights = federate(settings.task, rows, private=True, louder={PartyId("shop-03"): 1000})
    assert np.isfinite(weights).all()
    with pytest.raises(UsageError, match="20 nodes or more, not 19"):
        federate(settings.task, dict([*rows.items()][:19]), private=True)
    with pytest.raises(UsageError, match="20 nodes or more, not 19"):
        federate(settings.task, dict([*rows.items()][:19]), private=False)


def test_the_study_of_a_louder_party_tells_of_one_sum_beside_the_groups(crowd, monkeypatch):
    settings, rows = crowd
    bad = PartyId("shop-03")
    settings = replace(settings, data=replace(settings.data, flipped=str(bad), loudness=1000))
    honest, study = study_of(rows, bad, settings.task.recipe.model.layers[0])
    asked = set()

    def quiet(task, rows, *, private, noised, louder):
        asked.add((task.recipe.groups, task.recipe.trimmed, private, noised))
        return federate(task, rows, private=private, noised=False, louder=louder)

    monkeypatch.setattr(poisoning, "federate", quiet)
    found = poisoned(study, honest, settings)
    ways = ((True, True), (True, False), (False, False))
    assert asked == {(*parts, *way) for parts in ((5, 1), (1, 0)) for way in ways}
    for way in ("ordered", "clipped", "unclipped"):
        assert set(found[way]) == set(found[f"{way}_in_one_sum"])
    one, groups = found["clipped_in_one_sum"], found["clipped"]
    assert found["loudness"] == 1000
    assert one["louder"] < 0.7 * one["honest"]
    assert groups["louder"] > 0.9 * one["honest"] and groups["honest"] > 0.9 * one["honest"]
    shown = _bounded(found)
    assert "stays between those of the groups without it" in shown
    assert _poisoned(found).columns[-1].header == "neither, in one sum"
    few = replace(study, rows=dict([*study.rows.items()][:20]))
    with pytest.raises(UsageError, match="5 groups need 20 parties beside it, of 20"):
        poisoned(few, honest, settings)


def test_fedavg_has_no_groups():
    assert isinstance(compose(["experiment=fraud_fedavg"]).task.recipe, Recipe)
