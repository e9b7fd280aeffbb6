"""The gate after training: a measured figure, a floor, and what is never gone on from."""

import dataclasses
import json
from decimal import Decimal
from pathlib import Path

import pytest

from aggregator import coordinator
from aggregator.cards import Card
from aggregator.errors import HeldBackError, MalformedModelError
from aggregator.lineage import last_round, lineage
from aggregator.standing import ACCEPTED, HELD_BACK, held_back, is_held_back, judged
from aggregator.stored import load
from experiments import following
from experiments.cli import run
from experiments.errors import UsageError
from experiments.ordering import Terms, continuation, training_order
from experiments.settings import compose
from federation.errors import MalformedOrderError
from federation.evaluation import ScoreSums
from federation.readings import NOTHING, Estimate
from federation.tasks import TrainingTask
from tests.secure_sums import LIMITS, ONE_LAW
from tests.simulator import WAREHOUSES, Simulation, sum_recipe
from tests.unit.aggregator.test_lineage import card, save

MEASURED = sum_recipe(
    holdout=Decimal("0.5"), evaluation=ScoreSums(8, 2), noise_multiplier=Decimal(12)
)
FLOOR = Decimal("0.3")


def metrics(value: str | None, low: str = "0.2", high: str = "0.5") -> dict:
    return {"average_precision": {"value": value, "low": low, "high": high, "note": ""}}


@pytest.mark.parametrize(
    ("value", "standing"),
    [("0.300000", ACCEPTED), ("0.299999", HELD_BACK), ("1.000000", ACCEPTED), (None, HELD_BACK)],
)
def test_a_model_is_accepted_from_its_floor_on(value, standing):
    gate = judged(metrics(value), FLOOR)
    assert gate == {
        "standing": standing, "measure": "average_precision", "floor": "0.3",
        "value": value, "low": "0.2", "high": "0.5",
    }  # fmt: skip
    assert is_held_back(gate) == (standing == HELD_BACK)
    assert ("too noisy" if value is None else value) in held_back(gate)


def test_without_a_floor_or_a_measurement_nothing_is_judged():
    assert judged(metrics("0.9"), Decimal(0)) == judged({}, FLOOR) == {}
    assert not is_held_back({})
    assert judged({"roc_area": {"value": "0.9"}}, FLOOR)["standing"] == HELD_BACK


def test_a_card_says_how_its_model_stands():
    gated = card(3, gate=judged(metrics("0.1"), FLOOR))
    assert Card.from_json(gated.to_json()) == gated
    assert "gate" not in card(3).to_json()  # as cards were before there was a gate
    for value in ({}, {"standing": "good"}, "accepted", None):
        with pytest.raises(MalformedModelError):
            Card.from_json({**card(3).to_json(), "gate": value})


def test_nothing_goes_on_from_a_model_that_is_held_back(tmp_path):
    for round_ in (1, 2):
        save(tmp_path, round_)
    save(tmp_path, 3, gate=judged(metrics("0.1"), FLOOR))
    with pytest.raises(HeldBackError, match=r"measured as 0\.1 .*below its order's 0\.3"):
        last_round(tmp_path, "a1")
    assert len(lineage(tmp_path, "a1")) == 3  # it can still be read and checked
    save(tmp_path, 1, "b2", rounds=1, gate=judged(metrics("0.4"), FLOOR))
    assert last_round(tmp_path, "b2").card.gate["standing"] == ACCEPTED


# -- the order -------------------------------------------------------------------------------------


def test_a_floor_stands_in_the_order_in_one_form():
    task = TrainingTask("fraud", 1, 0, MEASURED, floor=FLOOR)
    assert task.to_json()["floor"] == "0.3" and TrainingTask.from_json(task.to_json()) == task
    plain = TrainingTask("fraud", 1, 0, MEASURED)
    assert "floor" not in plain.to_json()
    for floor in ("0", "0.30", "2", "-1", "NaN", "", 0.3, None):
        with pytest.raises(MalformedOrderError):
            TrainingTask.from_json({**plain.to_json(), "floor": floor})


def test_a_floor_is_for_what_is_measured():
    with pytest.raises(MalformedOrderError, match=r"model\.holdout"):
        TrainingTask("fraud", 1, 0, sum_recipe(), floor=FLOOR)
    with pytest.raises(UsageError, match=r"model\.holdout"):
        compose(["experiment=fraud", "model.floor=0.3"])
    assert compose(["experiment=fraud", "model.holdout=0.2", "model.floor=0.3"]).task.floor == FLOOR
    assert compose(["experiment=fraud"]).task.floor == 0


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture
def simulation(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path / "federation", limits=LIMITS, seats=ONE_LAW)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Estimate]:
    """The federation measures what stands last here; all else of the report is as it was."""
    found: list[Estimate] = []
    real = coordinator.read
    monkeypatch.setattr(
        coordinator,
        "read",
        lambda *words: dataclasses.replace(real(*words), average_precision=found[-1]),
    )
    return found


@pytest.mark.parametrize(
    ("measured", "standing"),
    [(Estimate(0.4, 0.3, 0.5), ACCEPTED), (Estimate(0.2, 0.1, 0.3), HELD_BACK),
     (NOTHING, HELD_BACK)],
)  # fmt: skip
def test_a_run_ends_with_a_standing_and_one_held_back_is_not_resumed(
    simulation, found, measured, standing
):
    found.append(measured)
    task = TrainingTask("fraud", 1, 0, MEASURED, floor=FLOOR)
    terms = Terms(purpose="fraud_prevention", cohort=WAREHOUSES)
    job = simulation.run(training_order(simulation.home, task, terms))
    assert job.status == "done", job.result
    assert job.result["gate"]["standing"] == standing
    rounds = lineage(Path(job.result["model"]).parent.parent, job.id)
    assert [stored.card.gate.get("standing") for stored in rounds] == [None] * 3 + [standing]
    assert load(Path(job.result["model"])).card.gate == job.result["gate"]
    says = "is held back" if standing == HELD_BACK else "rounds"
    with pytest.raises(UsageError, match=says):
        continuation(simulation.home, simulation.jobs, job.id, "fraud", ())


def test_train_says_that_its_model_is_held_back(simulation, found, monkeypatch, capsys):
    def followed(jobs, order, *_):
        simulation.work()
        return jobs.find(order)

    monkeypatch.setattr(following, "follow", followed)
    words = ["train", "fraud", "--federation", str(simulation.home.folder), "--json"]
    words += ["model.rounds=2", "model.moments=1", "model.holdout=0.5", "model.floor=0.3"]
    found.append(Estimate(0.2, 0.1, 0.3))
    assert run(words) == 0
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert value["gate"]["standing"] == HELD_BACK and value["gate"]["floor"] == "0.3"
    assert "the model is held back: its average precision was measured as 0.200000" in err
    assert run(["train", "fraud", *words[2:5], "--resume", value["run"][:12]]) == 2
    assert "is held back" in capsys.readouterr().err
