"""Nothing that decides privacy draws from a generator that a seed controls."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = ("clients/training", "secure_compute", "policies", "federation")
PACKAGES = ("clients", "secure_compute", "policies", "federation", "aggregator")
FILES = sorted(path for folder in PRIVATE for path in (ROOT / folder).rglob("*.py"))
FILES += [ROOT / "clients" / "queries" / "partial.py"]
TORCH_CHANCE = {
    "manual_seed", "seed", "rand", "randn", "randint", "randperm", "normal", "bernoulli",
    "multinomial", "poisson", "rand_like", "randn_like", "randint_like", "dropout", "Generator",
    "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "geometric_", "cauchy_",
    "log_normal_", "default_generator",
}  # fmt: skip
PUBLIC_SEED = {
    ("federation/models.py", "numpy.random.default_rng"),
    ("federation/sequences.py", "numpy.random.default_rng"),
    ("federation/readings.py", "numpy.random.default_rng"),
    ("federation/readings.py", "numpy.random.Generator"),
}
"""Initial weights are public: the seed of the order makes them, and nothing else. Intervals are
made from a sum that was noised before, by whoever holds it: what they draw protects nobody."""


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def chance_in(source: str) -> set[str]:
    """Return the generators that `source` names, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names if item.name in {"random", "numpy.random"}}
            found |= {
                item.name for item in node.names if item.name.startswith("torch.distributions")
            }
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module in {"random", "numpy.random", "torch.distributions"}:
                found.add(module)
            found |= {
                f"{module}.{item.name}"
                for item in node.names
                if (module == "numpy" and item.name == "random")
                or (module.startswith("torch") and item.name in TORCH_CHANCE)
            }
        elif isinstance(node, ast.Attribute):
            name = dotted(node).replace("np.", "numpy.", 1)
            if name.startswith("numpy.random.") or (
                node.attr in TORCH_CHANCE and (name.startswith("torch.") or node.attr.endswith("_"))
            ):
                found.add(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_generator_with_a_seed(path):
    here = path.relative_to(ROOT).as_posix()
    found = {(here, name) for name in chance_in(path.read_text(encoding="utf-8"))}
    assert found <= PUBLIC_SEED


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import random",
        "import numpy as np\nnp.random.normal()",
        "import numpy\nnumpy.random.default_rng(3)",
        "from numpy import random",
        "from numpy.random import default_rng",
        "import torch\ntorch.manual_seed(1)",
        "import torch\nx = torch.randn(3)",
        "import torch\ntorch.zeros(3).normal_()",
        "from torch import randn",
        "import torch.distributions as d",
    ],
)
def test_the_check_sees_generators(source):
    assert chance_in(source)


def test_training_frameworks_stay_at_home():
    for path in (path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")):
        here = path.relative_to(ROOT).as_posix()
        if here.startswith("clients/training/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "opacus"}, here
