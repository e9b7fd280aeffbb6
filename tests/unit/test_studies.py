"""Simulated studies: who learns from which rows, what is divided by what, what is said of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clients.training.plain import plain_round, pooled
from clients.training.reads import Feature, Reads
from experiments import simulating, studies
from experiments.cli import run
from experiments.datasets import files, handbook, stallion
from experiments.errors import PolicyRefusalError, UsageError
from experiments.measuring import Optimiser, fit_as
from experiments.settings import compose
from experiments.simulate_view import simulation_table
from experiments.simulating import run_study
from experiments.studies import Worth, handbook_study, require_unit, stallion_study
from federation.recipes import Progress
from federation.tasks import keys_of
from tests.tables import payments, real, volumes

FEW = ["model.rounds=2", "model.steps=2"]
QUICK = Optimiser(20, 0.1, 1e-3)


@pytest.fixture(scope="module")
def splits():
    return handbook.handbook_splits(payments(), issuers=4)


@pytest.fixture(scope="module")
def fraud(splits):
    return replace(handbook_study(splits, handbook.FEATURES, 100), local=QUICK, pooled=QUICK)


@pytest.fixture(scope="module")
def demand():
    return replace(stallion_study(volumes(), 60), local=QUICK, pooled=QUICK)


@pytest.fixture(scope="module")
def settings():
    return compose(["experiment=handbook", *FEW])


def test_a_study_says_what_each_way_is_worth(fraud, settings):
    told = []
    value = run_study(fraud, settings, lambda *step: told.append(step))
    assert value["schema"] == "entrepot.simulate/1" and value["privacy"] == "NOT PRIVATE"
    assert value["parties"] == value["parties_measured"] == 4
    for way in ("naive", "local", "federated", "pooled"):
        assert 0 < value[f"handbook_ap_{way}"] == value[way] <= 1
        assert 0 < value[f"{way}_mean_of_parties"] <= 1
    assert value["baseline"] == value["naive"]
    assert told == [
        *(("federated", done, 2) for done in (1, 2)),
        *(("local", done, 4) for done in (1, 2, 3, 4)),
        *(("pooled", done, 1) for done in (0, 1)),
    ]
    json.dumps(value)


def test_learning_beats_what_costs_nothing_where_there_is_something_to_learn(demand):
    value = run_study(demand, compose(["experiment=stallion", "privacy.expected_units=80"]))
    assert value["stallion_wape_federated"] < 0.8 * value["stallion_wape_naive"]


def test_naive_forecasts_are_last_month_and_the_dearest_payments(splits, demand):
    table = volumes().sort_values(["agency", "sku", "date"])
    before = table.groupby(["agency", "sku"])["volume"].shift(1)
    test = table["date"] >= stallion.FIRST_TEST
    error = (before - table["volume"])[test].abs().sum() / table["volume"][test].sum()
    assert demand.naive.overall == pytest.approx(error)
    study = handbook_study(splits, handbook.FEATURES, 100)
    rows = splits[0].test.sort_values("TX_AMOUNT", ascending=False)
    found = rows["fraud"].cumsum()[rows["fraud"] == 1]
    rank = np.arange(1, len(rows) + 1)[rows["fraud"].to_numpy() == 1]
    assert study.naive.each[splits[0].party] == pytest.approx((found / rank).mean(), abs=1e-3)


def test_a_party_alone_learns_from_no_rows_but_its_own(fraud, settings):
    """Recorded by the scoring itself: the weights are those of each party's rows, fitted apart."""
    seen = []

    def score(spec, weights):
        seen.append(dict(weights))
        return Worth(0.5, dict.fromkeys(weights, 0.5))

    run_study(replace(fraud, score=score), settings)
    alone, federated, whole = seen
    recipe = settings.task.recipe
    start = recipe.model.init(settings.task.seed)
    for party, rows in fraud.rows.items():
        assert np.allclose(alone[party], fit_as(QUICK, recipe, start, rows), atol=1e-5)
    together = fit_as(QUICK, recipe, start, pooled(list(fraud.rows.values())))
    assert all(np.allclose(weights, together, atol=1e-5) for weights in whole.values())
    assert not any(np.allclose(weights, together, atol=1e-2) for weights in alone.values())
    progress = Progress.start(recipe, settings.task.seed)
    for turn in range(recipe.rounds):
        updates = [plain_round(progress.weights, r, recipe, turn) for r in fraud.rows.values()]
        progress = progress.advance(recipe, updates)
    assert all(np.allclose(w, progress.weights, atol=1e-6) for w in federated.values())


def test_an_update_is_divided_by_a_constant_so_that_twice_the_rows_move_twice_as_far(fraud):
    recipe = compose(["experiment=handbook", "model.rounds=1", "model.steps=1"]).task.recipe
    start = recipe.model.init(0)
    for rows in fraud.rows.values():
        once = plain_round(start, rows, recipe, 0)
        twice = plain_round(start, pooled([rows, rows]), recipe, 0)
        assert np.allclose(twice, 2 * once, rtol=1e-5, atol=1e-7) and np.abs(once).max() > 1e-3


def test_updates_add_up_so_that_a_secure_sum_may_carry_them(fraud, settings):
    """The next weights follow from the sum of the updates and the number of parties alone."""
    recipe = settings.task.recipe
    progress = Progress.start(recipe, 1)
    updates = [plain_round(progress.weights, rows, recipe, 0) for rows in fraud.rows.values()]
    summed = np.sum([update.astype(np.float64) for update in updates], axis=0)
    one, other = (
        progress.advance(recipe, list(parts))
        for parts in (updates, [(summed / len(updates)).astype(np.float32)])
    )
    assert np.allclose(one.weights, other.weights, atol=1e-6)


# -- whose rows a feature reads --------------------------------------------------------------------


def test_a_private_run_on_terminal_windows_is_refused_by_name(fraud):
    private = compose(
        ["experiment=handbook", "privacy=customer", "privacy.rows_per_unit=100", *FEW]
    )
    with pytest.raises(PolicyRefusalError, match="TERMINAL_ID_RISK_7DAY_WINDOW"):
        run_study(fraud, private)


def test_the_refusal_comes_before_any_row_is_read(tmp_path, capsys):
    words = ["handbook", "privacy=customer", f"data.folder={tmp_path}"]
    assert run(["simulate", *words]) == 10
    assert "TERMINAL_ID_RISK_1DAY_WINDOW" in capsys.readouterr().err


def test_a_private_run_on_the_customers_own_rows_is_not_refused(splits):
    private = compose(
        ["experiment=handbook", "data.features=own", "privacy=customer", "model.rounds=1"]
    )
    study = handbook_study(splits, handbook.OWN_FEATURES, private.task.recipe.rows_per_unit)
    value = run_study(replace(study, local=QUICK, pooled=QUICK), private)
    assert value["privacy"] == "dp" and value["epsilon"] == 2.0
    assert value["unit"] == "customer at one issuer"


def test_released_rates_take_the_place_of_terminal_windows_in_a_private_run(splits):
    overrides = ["experiment=handbook", "model=fraud", "data.features=own", "privacy=customer"]
    few = ["model.rounds=2", "model.moments=1", "privacy.sampling_rate=1", "privacy.grid=65536"]
    private = compose([*overrides, *few, "model.statistics=[TERMINAL_ID/64]"])
    recipe = private.task.recipe
    study = handbook_study(splits, handbook.OWN_FEATURES, recipe.rows_per_unit, keys_of(recipe))
    assert study.features[-1] == Feature("rate by TERMINAL_ID", Reads.RELEASED)
    value = run_study(replace(study, local=QUICK, pooled=QUICK), private)
    assert value["privacy"] == "dp" and value["unit"] == "customer at one issuer"
    assert value["rounds"] == 4
    other = compose([*overrides, *few, "model.statistics=[CUSTOMER_ID/64]"]).task.recipe
    with pytest.raises(UsageError, match="TERMINAL_ID/BUCKETS alone"):
        handbook_study(splits, handbook.OWN_FEATURES, 8, keys_of(other))


def test_what_no_privacy_could_hide_is_said(fraud, demand, splits, settings):
    value = run_study(fraud, settings)
    assert value["unit"] is None and value["claim"].startswith("no personal-data DP: TERMINAL_ID")
    assert require_unit(demand.features, demand.unit) == stallion.UNIT.name
    assert "nobody" not in demand.claim() and "commercial confidentiality" in demand.claim()
    wide = replace(demand, features=(*demand.features, Feature("agency mean", Reads.OWN_PARTY)))
    assert require_unit(wide.features, wide.unit) == stallion.UNIT.party
    own = handbook_study(splits, handbook.OWN_FEATURES, 100)
    assert "one customer" in own.claim()


# -- what people see -------------------------------------------------------------------------------


def test_the_table_shows_every_way_and_the_warning(fraud, settings):
    value = run_study(fraud, settings)
    text = simulation_table(value)
    for row in ("what costs nothing", "each party alone", "federated", "all rows in one place"):
        assert row in text
    assert f"{value['federated']:.3f}" in text and "NOT PRIVATE" in text
    assert "no personal-data DP" in text and "of 4 parties" in text


@pytest.mark.parametrize(
    ("naive", "local", "federated", "helped"),
    [(0.2, 0.1, 0.5, 4), (0.9, 0.1, 0.5, 0), (0.1, 0.9, 0.5, 0), (0.1, 0.4996, 0.5, 0)],
)
def test_a_party_is_helped_by_more_than_both_that_it_had_before(
    fraud, settings, naive, local, federated, helped
):
    def worth(value):
        return Worth(value, dict.fromkeys(fraud.rows, value))

    scores = iter((local, federated, 0.95))
    study = replace(fraud, naive=worth(naive), score=lambda *_: worth(next(scores)))
    value = run_study(study, settings)
    assert (value["local"], value["federated"]) == (round(local, 4), federated)
    assert (value["parties_helped"], value["parties_measured"]) == (helped, 4)
    errors = iter((1 - local, 1 - federated, 0.05))
    lower = replace(study, naive=worth(1 - naive), score=lambda *_: worth(next(errors)))
    assert run_study(replace(lower, measure="wape"), settings)["parties_helped"] == helped


def test_a_model_on_data_it_does_not_fit_is_one_sentence():
    with pytest.raises(UsageError, match="fraud on handbook"):
        simulating.simulate(compose(["experiment=fraud", "data=stallion"]))


def test_one_issuer_of_the_handbook_may_be_flipped_and_nobody_who_is_none(monkeypatch):
    from experiments import studies
    from experiments.datasets.handbook import handbook_splits

    table = payments()
    monkeypatch.setattr(files, "read", lambda *_: table)
    made, asked = handbook_splits(table, issuers=4), []
    monkeypatch.setattr(handbook, "handbook_splits", lambda _: made)
    monkeypatch.setattr(studies, "handbook_study", lambda splits, *_: asked.append(splits))
    words = ["experiment=handbook", "data.flipped="]
    for flipped in ("", "issuer-02"):
        studies.load_study(compose([*words[:1], words[1] + flipped]))
    others = [one is other for one, other in zip(made, asked[1], strict=True)]
    assert asked[0] is made and others == [True, True, False, True]
    with pytest.raises(UsageError, match="issuer-00 to issuer-03, not 'issuer-50'"):
        studies.load_study(compose([*words[:1], words[1] + "issuer-50"]))


def test_nodes_do_not_train_on_the_sets_of_studies(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.home.open_home", lambda _: None)
    for words in (
        ["demand", "data=stallion", "model=demand_stallion"],
        ["fraud", "data=handbook"],
        ["fraud", "model=repeat"],
    ):
        assert run(["train", *words, "--dry-run"]) == 2
        assert "entrepot simulate" in capsys.readouterr().err


def test_the_command_tells_progress_apart_from_the_result(monkeypatch, capsys):
    table = volumes()
    monkeypatch.setattr(files, "read", lambda *_: table)
    words = ["simulate", "stallion", "model.rounds=2"]
    assert run([*words, "--json"]) == 0
    shown = capsys.readouterr()
    value = json.loads(shown.out)
    assert value["schema"] == "entrepot.simulate/1" and value["stallion_wape_federated"] > 0
    assert "federated 2/2" in shown.err and "federated 2/2" not in shown.out


# -- the real sets ---------------------------------------------------------------------------------


@real(stallion.TABLE)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_agencies_forecast_better_together_than_alone():
    value = studies_run("stallion")
    assert value["stallion_wape_federated"] <= 0.165
    assert value["federated_mean_of_parties"] < value["local_mean_of_parties"]
    assert value["stallion_wape_naive"] == pytest.approx(0.182, abs=1e-3)


@real(handbook.RAW)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_issuers_find_more_fraud_together_than_alone():
    value = studies_run("handbook")
    assert value["handbook_ap_federated"] >= 0.58
    assert value["handbook_ap_pooled"] == pytest.approx(0.606, abs=0.01)
    assert 0.42 <= value["handbook_ap_local"] <= 0.48
    assert value["unit"] is None


def studies_run(experiment):
    settings = compose([f"experiment={experiment}"])
    return run_study(studies.load_study(settings), settings)
