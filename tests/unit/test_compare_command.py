"""`entrepot node compare`: a party sees whether a model helps it, and nobody else sees."""

import json
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aggregator.cards import Card
from aggregator.standing import judged
from aggregator.stored import encode, load
from clients.settings import load_settings
from clients.training import own
from clients.training.fraud import FEATURES, later_rows
from clients.training.own import average_precision
from experiments.boosting_recipes import fraud_boosting
from experiments.cli import run
from experiments.measuring import OPTIMISERS
from experiments.ordering import Terms, training_order
from experiments.settings import compose
from federation.boosted import Boosted
from federation.feature_scales import Bins
from federation.models import forward
from federation.scaled import Scaled
from federation.tasks import TrainingTask
from secure_compute import canonical
from tests.secure_sums import LIMITS, ONE_LAW
from tests.simulator import CN, KEYHOLDER, WAREHOUSES, Simulation, sum_recipe
from tests.unit.test_checking import contents
from tests.unit.test_worker import rewrite

CUT = "2025-03-20"
CUT_US = int(pd.Timestamp(CUT).timestamp()) * 1_000_000


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """A federation that trained fraud, on orders before the cut, and demand."""
    simulation = Simulation(
        tmp_path_factory.mktemp("compared") / "federation", limits=LIMITS, seats=ONE_LAW
    )
    task = TrainingTask("fraud", 1, CUT_US, sum_recipe())
    terms = Terms(purpose="fraud_prevention", cohort=WAREHOUSES)
    simulation.fraud = simulation.run(training_order(simulation.home, task, terms))
    simulation.demand = simulation.run(simulation.training())
    return simulation


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps and fewer draws: enough for made-up rows."""
    monkeypatch.setattr(own, "RESAMPLES", 40)
    for name, adam in OPTIMISERS.items():
        monkeypatch.setitem(OPTIMISERS, name, replace(adam, steps=60))


@pytest.fixture
def node(federation: Simulation, tmp_path: Path) -> Path:
    """The folder of one of its nodes, which does not run."""
    return Path(shutil.copytree(federation.folder(CN), tmp_path / "node"))


def words(node: Path, result: dict, *more: str) -> list[str]:
    return ["node", "compare", str(node), result["model"], "--digest", result["digest"], *more]


def found(capsys: pytest.CaptureFixture[str], *command: str) -> dict:
    assert run([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], code: int, *command: str) -> str:
    assert run(command) == code
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1, err
    return err


def handed_over(folder: Path, card: Card, weights: np.ndarray) -> dict:
    """A model's file as it comes alone, and its digest."""
    path = folder / "model.safetensors"
    path.write_bytes(encode(card, weights.astype(np.float32), {}))
    return {"model": str(path), "digest": canonical.digest_bytes(path.read_bytes())}


def test_a_party_sees_its_own_figures_of_three_models(federation, node, capsys):
    value = found(capsys, *words(node, federation.fraud.result))
    assert value["schema"] == "entrepot.node.compare/1"
    assert (value["party"], value["model"], value["round"]) == (CN, "fraud", 3)
    assert value["models_verified"] == 3 and value["same_code"]
    assert value["since"] == f"{CUT}T00:00:00"
    settings = load_settings(node)
    contract = settings.contracts()["orders"]
    frame = pd.read_parquet(settings.table(contract))
    test = later_rows(frame, contract, CUT_US)
    late = frame[frame["ts"] >= CUT]
    assert value["rows_tested_on"] == len(late) and value["positives"] == late["label_fraud"].sum()
    stored = load(Path(federation.fraud.result["model"]))
    scores = forward(sum_recipe().model, stored.weights, test.features)
    assert value["federated"] == pytest.approx(average_precision(test.targets > 0, scores), 1e-5)
    gain = value["gain_federated"]
    assert gain["value"] == pytest.approx(value["federated"] - value["alone"], abs=1e-5)
    assert gain["low"] <= gain["high"]
    assert 0 < value["fine_tuned"] <= 1 and 0 < value["alone"] <= 1
    assert value["answer"] in {"it helps", "it does not help", "too close to tell"}


def test_the_test_begins_where_the_operator_says_but_never_before_the_run_ended(
    federation, node, capsys
):
    value = found(capsys, *words(node, federation.fraud.result, "--since", "2025-04-01"))
    frame = pd.read_parquet(node / "data" / "orders.parquet")
    assert value["rows_tested_on"] == (frame["ts"] >= "2025-04-01").sum()
    assert value["rows_trained_on"] <= (frame["ts"] < "2025-04-01").sum()
    early = words(node, federation.fraud.result, "--since", "2025-03-19")
    assert "read rows up to 2025-03-20" in refused(capsys, 2, *early)


def test_demand_is_compared_by_its_error_in_weeks_that_are_named(federation, node, capsys):
    value = found(capsys, *words(node, federation.demand.result, "--since", "24"))
    assert (value["measure"], value["since"], value["positives"]) == ("wape", "week 24", None)
    assert value["rows_tested_on"] == 6 * 6 and value["rows_trained_on"] == 6 * 22
    gain = value["gain_federated"]["value"]
    assert gain == pytest.approx(value["alone"] - value["federated"], abs=1e-5)
    assert "--since 61" in refused(capsys, 2, *words(node, federation.demand.result))


def test_a_model_that_knows_what_the_party_never_saw_helps_it(federation, node, capsys, tmp_path):
    """Dear orders turn out to be fraud, in all the test and in none of the training rows."""
    path = node / "data" / "orders.parquet"
    frame = pd.read_parquet(path)
    late = frame["ts"] >= CUT
    frame["label_fraud"] = (late & (frame["amount"] > 300)).astype(np.int64)
    frame["label_ts"] = frame["ts"].where(frame["label_fraud"] == 1)
    frame.to_parquet(path)
    weights = np.zeros(len(FEATURES) + 1)
    weights[[*FEATURES].index("log_amount")] = 5.0
    card = load(Path(federation.fraud.result["model"])).card
    good = words(node, handed_over(tmp_path, card, weights))
    value = found(capsys, *good)
    assert value["answer"] == "it helps" and value["gain_federated"]["low"] > 0
    assert value["federated"] == 1.0 and value["models_verified"] == 0
    assert run(good) == 0
    out, err = capsys.readouterr()
    assert f"For {CN}: it helps." in out and "1.000" in out and "fitted further" in out
    assert "did not come with it" in err and "nothing was sent, charged or written" in err
    bad = found(capsys, *words(node, handed_over(tmp_path, card, -weights)))
    assert bad["gain_federated"]["value"] < 0 and bad["federated"] < value["federated"]


def test_trees_are_compared_as_they_came(federation, node, capsys, tmp_path):
    recipe = replace(sum_recipe(), method=Boosted(boosting=fraud_boosting(), seed=1))
    card = replace(load(Path(federation.fraud.result["model"])).card, recipe=recipe.to_json())
    start = recipe.method.start(1).weights
    boosted = words(node, handed_over(tmp_path, card, start))
    value = found(capsys, *boosted)
    assert value["fine_tuned"] is None and value["gain_fine_tuned"] is None
    assert value["federated"] == pytest.approx(value["positives"] / value["rows_tested_on"], 1e-5)
    assert run(boosted) == 0
    assert "made of trees" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["fraud", "demand"])
def test_nothing_is_written_charged_or_sent(federation, node, capsys, task, monkeypatch):
    """The node's folder, books and reports among it, and the models' are as they were."""
    models = federation.home.aggregator / "models"
    before, handed = contents(node), contents(models)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was made"))
    found(capsys, *words(node, getattr(federation, task).result, "--since", "2025-03-20"
                         if task == "fraud" else "24"))  # fmt: skip
    assert contents(node) == before and contents(models) == handed


# -- what is refused -------------------------------------------------------------------------------


def test_altered_bytes_are_found_even_where_they_are_still_a_model(
    federation, node, capsys, tmp_path
):
    stored = load(Path(federation.fraud.result["model"]))
    other = handed_over(tmp_path, stored.card, stored.weights + 1)
    other["digest"] = federation.fraud.result["digest"]
    assert "is not the model that was named" in refused(capsys, 30, *words(node, other))
    data = bytearray(stored.path.read_bytes())
    data[len(data) // 2] ^= 1
    Path(other["model"]).write_bytes(data)
    assert "ask for the file and the digest again" in refused(capsys, 30, *words(node, other))


def test_a_broken_chain_is_found(federation, node, capsys, tmp_path):
    here = Path(federation.fraud.result["model"])
    run_ = Path(shutil.copytree(here.parent, tmp_path / here.parent.name))
    result = {**federation.fraud.result, "model": str(run_ / here.name)}
    first, second = run_ / "round-0001.safetensors", run_ / "round-0002.safetensors"
    stored, whole = load(second), second.read_bytes()
    second.write_bytes(encode(stored.card, stored.weights + 1, stored.state))
    assert "was not made from" in refused(capsys, 30, *words(node, result))
    second.write_bytes(whole)
    assert found(capsys, *words(node, result))["models_verified"] == 3
    first.unlink()
    assert "is missing" in refused(capsys, 30, *words(node, result))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contract": "refunds"}, "offers demand, orders"),
        ({"contract_version": 2}, "offers version 1"),
        ({"model": "repeat"}, "a model of 'repeat'"),
        ({"contract": "demand"}, "use another model"),
    ],
)
def test_a_model_of_another_contract_is_refused(federation, node, capsys, tmp_path, change, says):
    stored = load(Path(federation.fraud.result["model"]))
    model = handed_over(tmp_path, replace(stored.card, **change), stored.weights)
    assert says in refused(capsys, 2, *words(node, model))


def test_a_model_of_other_features_is_refused(federation, node, capsys, tmp_path):
    stored = load(Path(federation.fraud.result["model"]))
    recipe = sum_recipe()
    narrow = replace(recipe.model, layers=(3, 1))
    card = replace(
        stored.card,
        recipe=replace(recipe, method=replace(recipe.method, model=narrow)).to_json(),
    )
    said = refused(capsys, 2, *words(node, handed_over(tmp_path, card, np.zeros(4))))
    assert "reads 3 features" in said and f"computes {len(FEATURES)}" in said


def test_a_run_of_other_software_is_told(federation, node, capsys, tmp_path):
    stored = load(Path(federation.fraud.result["model"]))
    model = handed_over(tmp_path, replace(stored.card, code="c" * 64), stored.weights)
    assert run(words(node, model)) == 0
    assert "of other software (cccccccccccc)" in capsys.readouterr().err


def test_a_model_that_is_held_back_says_so(federation, node, capsys, tmp_path):
    stored = load(Path(federation.fraud.result["model"]))
    gate = judged({"average_precision": {"value": "0.100000"}}, Decimal("0.3"))
    model = handed_over(tmp_path, replace(stored.card, gate=gate), stored.weights)
    assert run([*words(node, model), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["gate"] == gate
    assert "holds this model back: its average precision was measured as 0.1" in err


def no_frauds(node: Path) -> None:
    path = node / "data" / "orders.parquet"
    frame = pd.read_parquet(path)
    frame["label_fraud"] = 0
    frame.to_parquet(path)


def cut_in_the_middle(node: Path) -> None:
    path = node / "data" / "orders.parquet"
    data = bytearray(path.read_bytes())
    data[8:600] = b"\xff" * 592
    path.write_bytes(data)


BAD_ROWS = {
    "no table": (lambda n: (n / "data" / "orders.parquet").unlink(), "is missing"),
    "no Parquet": (lambda n: (n / "data" / "orders.parquet").write_bytes(b"x"), "not a whole"),
    "damaged": (cut_in_the_middle, "is damaged"),
    "no frauds": (no_frauds, "has no value on these test rows"),
    "no node": (lambda n: (n / "node.toml").unlink(), "is no node"),
    "no contract": (lambda n: (n / "contract" / "orders.toml").unlink(), "offers demand"),
    "other columns": (
        lambda n: rewrite(n / "contract" / "orders.toml", "customer_id", "client"), "client",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_bad_folders_and_tables_are_refused_in_a_sentence(federation, node, capsys, fault):
    spoil, says = BAD_ROWS[fault]
    spoil(node)
    assert says in refused(capsys, 2, *words(node, federation.fraud.result))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--since", "2031-01-01"), "0 to test on"),
        (("--since", "soon"), "is no date"),
        (("--digest", "abc"), "is no digest"),
    ],
)
def test_bad_words_are_refused_in_a_sentence(federation, node, capsys, more, says):
    assert says in refused(capsys, 2, *words(node, federation.fraud.result, *more))


def test_a_node_without_rows_and_a_file_that_is_no_model_are_refused(
    federation, node, capsys, tmp_path
):
    keyholder = federation.folder(KEYHOLDER)
    assert "offers nothing" in refused(capsys, 2, *words(keyholder, federation.fraud.result))
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    digest = canonical.digest_bytes(path.read_bytes())
    said = refused(capsys, 2, *words(node, {"model": str(path), "digest": digest}))
    assert "notes.txt" in said
    assert run(["node", "compare", str(node), str(path)]) == 2
    assert "--digest" in capsys.readouterr().err
    assert run(words(node, {"model": str(tmp_path / "nothing"), "digest": digest})) == 2


def test_cards_without_an_end_are_read_and_spelled_as_before(federation):
    card = load(Path(federation.demand.result["model"])).card
    assert card.until == 0 and "until" not in card.to_json()
    ended = load(Path(federation.fraud.result["model"])).card
    assert ended.until == CUT_US and Card.from_json(ended.to_json()) == ended
    assert Decimal(ended.epsilon) > 0


@pytest.mark.parametrize(
    "words_",
    [["experiment=demand_gru", "model.window=4"], ["experiment=demand", "model.horizons=2"]],
)
def test_networks_over_a_series_and_several_horizons_are_compared(
    federation, node, capsys, tmp_path, words_
):
    recipe = compose(words_).task.recipe
    card = replace(load(Path(federation.demand.result["model"])).card, recipe=recipe.to_json())
    handed = handed_over(tmp_path, card, recipe.model.init(1))
    value = found(capsys, *words(node, handed, "--since", "24"))
    assert value["rows_tested_on"] > 0 and value["rows_trained_on"] > 0
    assert value["fine_tuned"] is not None and value["measure"] == "wape"


def test_a_quantile_is_not_compared_as_if_it_were_a_mean(federation, node, capsys, tmp_path):
    recipe = compose(["experiment=demand_quantile", "model.quantile=0.9"]).task.recipe
    card = replace(load(Path(federation.demand.result["model"])).card, recipe=recipe.to_json())
    handed = handed_over(tmp_path, card, recipe.model.init(1))
    assert "0.9 quantile" in refused(capsys, 2, *words(node, handed, "--since", "24"))


def test_a_model_of_released_rates_is_not_compared(federation, node, capsys, tmp_path):
    recipe = compose(["experiment=fraud", "model.statistics=[category]"]).task.recipe
    card = replace(load(Path(federation.fraud.result["model"])).card, recipe=recipe.to_json())
    handed = handed_over(tmp_path, card, recipe.method.start(1).weights)
    assert "released rates" in refused(capsys, 2, *words(node, handed))


def test_a_model_of_released_scales_is_compared_on_rows_that_they_scale(
    federation, node, capsys, tmp_path
):
    plain = load(Path(federation.fraud.result["model"]))
    recipe = sum_recipe()
    counted = Scaled(
        bins=Bins(count=33, reach=Decimal(12)), releases=1, bound=Decimal(8), then=recipe.method
    )
    recipe = replace(recipe, method=counted)
    card = replace(plain.card, recipe=recipe.to_json())
    inputs = len(FEATURES)
    centres, scales = np.linspace(-1, 1, inputs), np.linspace(0.5, 2, inputs)
    handed = handed_over(tmp_path, card, np.concatenate([plain.weights, centres, scales]))
    value = found(capsys, *words(node, handed))
    settings = load_settings(node)
    contract = settings.contracts()["orders"]
    test = later_rows(pd.read_parquet(settings.table(contract)), contract, CUT_US)
    read = np.clip((test.features - centres) * scales, -8, 8)
    scores = forward(recipe.model, plain.weights, read)
    assert value["federated"] == pytest.approx(average_precision(test.targets > 0, scores), 1e-5)
    unscaled = found(capsys, *words(node, federation.fraud.result))
    assert value["alone"] != unscaled["alone"] and value["federated"] != unscaled["federated"]
    short = handed_over(tmp_path, card, plain.weights)
    assert "install the version" in refused(capsys, 2, *words(node, short))
