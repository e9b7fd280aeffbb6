"""Whoever joins or lets somebody in waits for no library that these commands do not use."""

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "opacus", "sklearn", "pandas", "numpy", "pyarrow", "duckdb", "tenseal", "sqlglot"),
    *("sqlalchemy", "sqlcipher3", "alembic", "flwr", "httpx", "fastapi", "rich", "hydra"),
)


@pytest.mark.parametrize("module", ["experiments.joining", "experiments.admitting"])
def test_neither_joining_nor_admitting_loads_a_database_or_what_computes(module):
    script = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
