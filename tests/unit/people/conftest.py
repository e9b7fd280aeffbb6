"""Recovery codes are hashed dearly on purpose; only the tests of the hash itself pay for that."""

import pytest
from argon2 import PasswordHasher

from federation.people import recovery


@pytest.fixture(autouse=True)
def _cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.module.__name__.endswith("test_factors"):
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(recovery, "_HASHER", cheap)
