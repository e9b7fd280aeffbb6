"""Break the code on purpose, one patch at a time, and see that its tests notice.

Every `*.patch` beside this file begins with two comment lines: what it breaks, in English, and
`# tests:` with the test files that must fail. Run all, or those whose file name contains a word:

    python tests/mutations/run.py [WORD ...]

Nothing is changed in the working tree. Exit 1 if a mutant survives, a patch does not apply, or the
tests fail without any patch.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ("policies", "secure_compute", "federation", "clients", "aggregator", "experiments")
TIMEOUT = 300  # seconds for the tests of one mutant

PASSED, FAILED = 0, 1  # what pytest exits with; anything else is neither


@dataclass(frozen=True, slots=True)
class Mutant:
    path: Path
    name: str
    tests: tuple[str, ...]


def read_mutant(path: Path) -> Mutant:
    name, tests = path.read_text(encoding="utf-8").splitlines()[:2]
    if not name.startswith("# ") or not tests.startswith("# tests: "):
        raise SystemExit(f"{path.name}: begin with '# what it breaks' and '# tests: FILE ...'")
    return Mutant(path, name.removeprefix("# "), tuple(tests.removeprefix("# tests: ").split()))


def copy_tree(target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "cheese")
    for package in (*PACKAGES, "tests"):
        if (ROOT / package).is_dir():
            shutil.copytree(ROOT / package, target / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)


def run_tests(folder: Path, tests: tuple[str, ...]) -> int:
    """Return pytest's exit status; a run that never ends counts as failed tests."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return FAILED


def verdict(mutant: Mutant) -> str:
    """Return `killed`, `survived`, or what kept the mutant from being tried."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_tree(folder)
        applied = subprocess.run(
            ["git", "apply", "-p1", str(mutant.path)], cwd=folder, capture_output=True, check=False
        )
        if applied.returncode:
            return "does not apply"
        match run_tests(folder, mutant.tests):
            case 0:
                return "survived"
            case 1:
                return "killed"
            case status:
                return f"broke the tests themselves ({status})"


def baseline(mutants: list[Mutant]) -> None:
    tests = tuple(sorted({test for mutant in mutants for test in mutant.tests}))
    with tempfile.TemporaryDirectory(prefix="baseline-") as name:
        copy_tree(Path(name))
        if run_tests(Path(name), tests) != PASSED:
            raise SystemExit(f"without any patch these tests fail: {' '.join(tests)}")


def _tried(mutant: Mutant) -> bool:
    start = time.monotonic()
    result = verdict(mutant)
    seconds = time.monotonic() - start
    print(f"{result:9} {seconds:5.1f} s  {mutant.path.stem}: {mutant.name}", flush=True)
    return result == "killed"


def main(words: list[str]) -> int:
    paths = sorted(HERE.glob("*.patch"))
    chosen = [path for path in paths if not words or any(word in path.name for word in words)]
    mutants = [read_mutant(path) for path in chosen]
    baseline(mutants)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        killed = sum(pool.map(_tried, mutants))
    print(f"{killed} killed, {len(mutants) - killed} survived")
    return PASSED if killed == len(mutants) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
