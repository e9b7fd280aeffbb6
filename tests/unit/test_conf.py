"""Every configuration file composes, and what it says becomes a task or a clear sentence."""

from importlib.resources import files
from pathlib import Path

import pytest

from experiments.errors import PolicyRefusalError, UsageError
from experiments.settings import compose, compose_run

CONF = Path(str(files("experiments") / "conf"))
GROUPS = sorted(path for path in CONF.rglob("*.yaml") if path.parent != CONF)


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_file_composes(path: Path) -> None:
    settings = compose([f"{path.parent.name}={path.stem}"])
    assert settings.task.recipe.rounds > 0


def test_an_override_reaches_the_recipe() -> None:
    assert compose(["experiment=fraud", "model.rounds=3"]).task.recipe.rounds == 3


def test_less_epsilon_means_more_noise() -> None:
    quiet, loud = (
        compose(["experiment=fraud", f"privacy.epsilon={epsilon}"]).task.recipe.noise_multiplier
        for epsilon in ("4", "1")
    )
    assert loud > quiet


def test_no_privacy_is_told_apart() -> None:
    assert not compose(["experiment=demand", "privacy=none"]).private


@pytest.mark.parametrize(
    "override", ["privacy.epsilonn=1", "privacy=secret", "model.rounds=-1", "model.rounds=x", "??"]
)
def test_bad_overrides_are_named(override: str) -> None:
    with pytest.raises(UsageError):
        compose([override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.rounds=x", "rounds is a whole number, not 'x'|rounds is a number, not 'x'"),
        ("model.rounds=2.5", "rounds is a whole number, not 2.5"),
        ("privacy.epsilon=much", "epsilon is a number, not 'much'"),
        ("model.holdout=-0.1", "holdout"),
    ],
)
def test_a_bad_number_is_named_with_its_key(override: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compose(["experiment=fraud", override])


@pytest.mark.parametrize(("model", "other"), [("demand", "fraud"), ("fraud", "demand")])
def test_a_run_is_of_the_model_that_was_named(model: str, other: str) -> None:
    assert compose_run(model, []).task.model == model
    with pytest.raises(UsageError, match=f"train {other}"):
        compose_run(model, [f"experiment={other}"])


def test_a_run_that_nodes_are_asked_for_is_private_and_on_their_own_rows() -> None:
    with pytest.raises(PolicyRefusalError, match="BASE-007"):
        compose_run("fraud", ["privacy=none"])
    with pytest.raises(UsageError, match="simulate"):
        compose_run("fraud", ["experiment=handbook", "privacy=customer"])
