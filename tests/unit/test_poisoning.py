"""A party with flipped labels, simulated: what it does to the others, and what clipping bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clients.training.sampling import UnitRows
from clients.training.sums import round_sum
from experiments import poisoning, simulating
from experiments.cli import run
from experiments.commerce import write
from experiments.datasets.cdnow import FEATURES, UNIT
from experiments.federating import federate
from experiments.measuring import Optimiser
from experiments.poisoning import poisoned
from experiments.settings import LOUDNESS, compose
from experiments.simulate_view import simulation_table
from experiments.studies import Study, Worth, load_study, precisions
from policies.parties import PartyId
from tests.seeded import SeededEntropy

PARTIES = tuple(PartyId(f"party-{letter}") for letter in "abcd")
BAD = PARTIES[0]
SIZES = dict(zip(PARTIES, (600, 200, 200, 200), strict=True))
WORDS = [
    "experiment=fraud", "model.rounds=4", "model.moments=1", "privacy.expected_units=1200",
    "privacy.rows_per_unit=1", "privacy.epsilon=8", "model.ridge=10", "model.learning_rate=2",
]  # fmt: skip


def drawn(count: int, inputs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, inputs)).astype(np.float32)
    return features, draw.random(count) < 1 / (1 + np.exp(2 - 2 * features[:, 0]))


def by_unit(features, truth) -> UnitRows:
    return UnitRows(features[:, None], truth[:, None].astype(np.float32),
                    np.ones((len(truth), 1), bool), np.zeros(len(truth), np.int64))  # fmt: skip


@pytest.fixture(scope="module")
def world():
    """Rows with true labels, settings, and a study in which one large party's are flipped."""
    settings = compose(WORDS)
    settings = replace(settings, data=replace(settings.data, flipped=str(BAD)))
    inputs = settings.task.recipe.model.layers[0]
    rows = {p: drawn(SIZES[p], inputs, seed) for seed, p in enumerate(PARTIES)}
    honest, study = study_of(rows, BAD, inputs)
    return study, honest, settings


def study_of(rows, bad, inputs) -> tuple[dict[PartyId, UnitRows], Study]:
    """Rows with true labels, and a study of them in which those of `bad` are flipped."""
    test = {p: drawn(1000, inputs, 50 + seed) for seed, p in enumerate(rows)}
    honest = {party: by_unit(*part) for party, part in rows.items()}
    features, truth = rows[bad]
    study = Study(
        measure="ap",
        split="made up",
        rows={**honest, bad: by_unit(features, ~truth)},
        naive=Worth(0.2, dict.fromkeys(rows, 0.2)),
        score=lambda spec, weights: precisions(
            {p: part[1] for p, part in test.items()},
            {p: spec.predict(weights[p], test[p][0]) for p in test},
        ),
        features=FEATURES[:0],
        unit=UNIT,
        local=Optimiser(1, 0.1, 0.0),
        pooled=Optimiser(1, 0.1, 0.0),
    )
    return honest, study


@pytest.fixture(scope="module")
def found(world):
    return poisoned(*world)


def test_it_is_told_who_and_how_large(found):
    assert found["party"] == BAD and found["unit_share"] == 0.5 and found["loudness"] == LOUDNESS
    json.dumps(found)


def test_flipped_labels_harm_the_others_and_leaving_the_party_out_mends_it(found):
    for way in ("clipped", "unclipped", "ordered"):
        case = found[way]
        assert case["flipped"] < 0.75 * case["honest"], way
        assert case["without"] > 1.3 * case["flipped"], way


def test_a_party_that_multiplies_what_it_clipped_is_bounded_by_nothing(found):
    """Which is why the clip is said to be agreed, and not enforced."""
    for way in ("clipped", "ordered"):
        assert found[way]["louder"] <= found[way]["flipped"] + 0.02
    assert found["clipped"]["louder"] < 0.5 * found["clipped"]["without"]


@pytest.mark.parametrize("loud", [1.0, 1e6])
def test_clipping_bounds_what_a_party_moves_by_the_number_of_its_units(world, loud):
    study, honest, settings = world
    recipe = settings.task.recipe
    start = recipe.method.start(settings.task.seed).weights
    for number in range(recipe.rounds):
        for rows in (study.rows[BAD], honest[BAD]):
            shouted = replace(rows, targets=np.float32(loud) * rows.targets)
            found = round_sum(start, shouted, recipe, number, SeededEntropy(1))
            assert np.linalg.norm(found.values / recipe.grid) <= SIZES[BAD] * 1.001


def test_the_flipped_party_itself_is_not_scored(world):
    study, honest, settings = world
    each = {party: 1.0 if party == BAD else 0.5 for party in PARTIES}
    fixed = replace(study, score=lambda *_: Worth(0.0, each))
    found = poisoned(fixed, honest, replace(settings, private=False))
    assert set(found["unclipped"].values()) == {0.5}


def test_the_louder_case_is_the_flipped_one_with_that_party_louder(world, monkeypatch):
    study, honest, settings = world
    asked = []

    def recorded(task, rows, *, private, noised, louder):
        asked.append((rows is study.rows, dict(louder)))
        return federate(task, rows, private=False)

    monkeypatch.setattr(poisoning, "federate", recorded)
    poisoned(study, honest, replace(settings, private=False))
    assert asked[1] == (True, {}) and asked[3] == (True, {BAD: LOUDNESS})


def test_whoever_is_not_louder_changes_nothing(world):
    study, _, settings = world
    plain = federate(settings.task, study.rows, private=False)
    same = federate(settings.task, study.rows, private=False, louder={BAD: 1})
    other = federate(settings.task, study.rows, private=False, louder={BAD: 3})
    assert (plain == same).all() and (plain != other).any()


def test_a_run_without_privacy_is_told_without_a_clip(world):
    study, honest, settings = world
    bare = replace(settings, private=False)
    assert [name for name in poisoned(study, honest, bare) if name.endswith("clipped")] == [
        "unclipped"
    ]


def test_simulate_tells_of_the_flipped_party_alone_where_one_is_named(world, monkeypatch, capsys):
    study, honest, _ = world
    asked = []

    def loaded(settings):
        asked.append(settings.data.flipped)
        return study if settings.data.flipped else replace(study, rows=honest)

    monkeypatch.setattr(simulating, "load_study", loaded)
    words = ["simulate", "fraud", *WORDS[1:]]
    assert run([*words, f"data.flipped={BAD}", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["poisoning"]["party"] == BAD and asked == [BAD, ""]
    table = simulation_table(value)
    assert "its labels flipped" in table and "agreed, not proven" in table
    assert "50.0 of 100 customers" in table
    assert run([*words, "--json"]) == 0
    assert "poisoning" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("words", "poisoned"), [(["data.flipped=merchant-br"], "merchant-br"),
                                                 ([], None)])  # fmt: skip
def test_the_generator_flips_whom_the_settings_name_and_by_default_nobody(
    words, poisoned, monkeypatch
):
    class AskedError(Exception):
        pass

    def generated(*_, **named):
        raise AskedError(named["poisoned"])

    monkeypatch.setattr(write, "generate", generated)
    with pytest.raises(AskedError) as why:
        load_study(compose(["experiment=fraud", *words]))
    assert why.value.args == (poisoned,)


@pytest.mark.parametrize(
    ("experiment", "party", "says"),
    [("fraud", "warehouse-cn", "data.flipped is one of payments-eu"),
     ("fraud", "nobody", "data.flipped is one of"),
     ("demand", "merchant-br", "flipped")],
)  # fmt: skip
def test_who_cannot_be_flipped_is_named(experiment, party, says, capsys):
    assert run(["simulate", experiment, f"data.flipped={party}"]) == 2
    assert says in capsys.readouterr().err
