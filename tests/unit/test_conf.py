"""Every configuration file composes, and what it says becomes a task or a clear sentence."""

from importlib.resources import files
from pathlib import Path

import pytest

from experiments.errors import UsageError
from experiments.settings import compose

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
