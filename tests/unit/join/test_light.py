"""Whoever joins, or keeps a node running, loads no library that these commands do not use."""

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "opacus", "sklearn", "pandas", "numpy", "pyarrow", "duckdb", "tenseal", "sqlglot"),
    *("sqlalchemy", "sqlcipher3", "alembic", "flwr", "httpx", "fastapi", "rich", "hydra", "numba"),
)


SUPERVISING = "experiments.commands.node, experiments.commands.aggregator, experiments.unlocking"


@pytest.mark.parametrize("modules", ["experiments.joining", "experiments.admitting", SUPERVISING])
def test_neither_joining_nor_supervising_loads_a_database_or_what_computes(modules):
    script = f"import sys, {modules}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
