"""Fixtures that more than one kind of test needs.

What they are made with is loaded when one is asked for: most tests need neither, and a mutant's
tests begin sooner.

Coverage of whole federations is measured in the first test of a module alone: being traced doubles
what they take, and the next test of the module passes by nearly the same lines.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from experiments.commerce.write import Manifest
    from tests.simulator import Simulation


# What tests and their processes compile is kept in the checkout, whatever home they have.
_KEPT = Path(__file__).resolve().parents[1] / ".pytest_cache" / "kept"
os.environ.setdefault("XDG_CACHE_HOME", str(_KEPT))

_measured: set[object] = set()
"""Modules in which a federation was."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is None or not _runs_another_federation(item):
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


def _runs_another_federation(item: pytest.Item) -> bool:
    """Whether a test has a federation, or its module makes some, and is not the first of these."""
    made = vars(item.module) if isinstance(item, pytest.Function) else {}
    given = {"simulation", "table"} & set(getattr(item, "fixturenames", ()))
    if not given and "Simulation" not in made and not callable(made.get("federation")):
        return False
    module = made["__name__"]
    is_first = module not in _measured
    _measured.add(module)
    return not is_first


@pytest.fixture(scope="session")
def commerce(tmp_path_factory: pytest.TempPathFactory) -> "Manifest":
    """The tiny generated commerce, made once."""
    from experiments.commerce.write import generate

    return generate("tiny", 7, tmp_path_factory.mktemp("commerce"))


@pytest.fixture
def simulation(tmp_path: Path) -> "Simulation":
    """A federation with made-up rows."""
    from tests.simulator import Simulation

    return Simulation(tmp_path / "federation")
