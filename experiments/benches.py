"""The benchmarks by name; each result stands beside what a user would pick instead."""

import importlib
import os
import platform
from typing import Any, Final

from experiments.errors import UsageError

BENCHES: Final = {
    "exchange": "experiments.bench_exchange",
    "wire": "experiments.bench_wire",
    "books": "experiments.bench_books",
    "secagg": "experiments.bench_secagg",
    "threshold": "experiments.bench_threshold",
    "queries": "experiments.bench_queries",
    "steps": "experiments.bench_steps",
    "learning": "experiments.bench_learning",
    "joining": "experiments.bench_joining",
}


def run(name: str, full: bool) -> list[dict[str, Any]]:
    """Return the results of one benchmark.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in BENCHES:
        raise UsageError(f"no benchmark called {name!r}; known: {', '.join(BENCHES)}")
    results: list[dict[str, Any]] = importlib.import_module(BENCHES[name]).run(full)
    return results


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123  Linux alone has it
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor()
