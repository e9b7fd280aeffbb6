"""Break the code on purpose, one patch at a time, and see that its tests notice.

Every `*.patch` beside this file begins with two comment lines: what it breaks, in English, and
`# tests:` with the test files that must fail. Run all, or those whose file name contains a word:

    python tests/mutations/run.py [--learn] [WORD ...]

`killers.txt` remembers which test killed each mutant last time. That test is tried first, alone; if
it does not notice, all the files are. `--learn` writes down what killed each mutant now.

Nothing is changed in the working tree. Exit 1 if a mutant survives or runs out of time, a patch
does not apply, or a test that kills fails without any patch.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KILLERS = HERE / "killers.txt"
PACKAGES = ("policies", "secure_compute", "federation", "clients", "aggregator", "experiments")
TIMEOUT = 600  # seconds for the tests of one mutant

PASSED, FAILED, LATE = 0, 1, 124  # what pytest exits with, and what `timeout` would
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One patch. killer: the test that noticed it last time, or ""."""

    path: Path
    name: str
    tests: tuple[str, ...]
    killer: str


@dataclass(frozen=True, slots=True)
class Tried:
    """How one mutant ended, and the test that noticed it."""

    mutant: Mutant
    verdict: str
    killer: str
    seconds: float


def read_mutant(path: Path, killers: dict[str, str]) -> Mutant:
    name, tests = path.read_text(encoding="utf-8").splitlines()[:2]
    if not name.startswith("# ") or not tests.startswith("# tests: "):
        raise SystemExit(f"{path.name}: begin with '# what it breaks' and '# tests: FILE ...'")
    files = tuple(tests.removeprefix("# tests: ").split())
    killer = killers.get(path.stem, "")
    known = any(killer.startswith(f"{file}::") or killer == file for file in files)
    return Mutant(path, name.removeprefix("# "), files, killer if known else "")


def read_killers() -> dict[str, str]:
    lines = KILLERS.read_text(encoding="utf-8").splitlines() if KILLERS.exists() else []
    return dict(line.split("\t", 1) for line in lines)


def write_killers(tried: Iterable[Tried]) -> None:
    known = {one.mutant.path.stem: one.killer for one in tried if one.killer}
    there = {path.stem for path in HERE.glob("*.patch")}
    lines = sorted(f"{s}\t{k}\n" for s, k in (read_killers() | known).items() if s in there)
    KILLERS.write_text("".join(lines), encoding="utf-8")


def copy_tree(target: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "cheese")
    for package in (*PACKAGES, "tests"):
        if (ROOT / package).is_dir():
            shutil.copytree(ROOT / package, target / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)


def run_tests(folder: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Return pytest's exit status and the first test that failed, or ""."""
    quiet = ["-x", "-q", "-rfE", "--tb=no", "--no-header", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *quiet, *tests],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return LATE, ""
    found = _FAILURE.search(done.stdout)
    return done.returncode, found.group(1) if found else ""


def verdict(mutant: Mutant) -> tuple[str, str]:
    """Return `killed` or what else came of it, and the test that noticed."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_tree(folder)
        applied = subprocess.run(
            ["git", "apply", "-p1", str(mutant.path)], cwd=folder, capture_output=True, check=False
        )
        if applied.returncode:
            return "does not apply", ""
        if mutant.killer and run_tests(folder, [mutant.killer])[0] == FAILED:
            return "killed", mutant.killer
        match run_tests(folder, mutant.tests):
            case (0, _):
                return "survived", ""
            case (1, killer):
                return "killed", killer
            case (status, _):
                return f"broke the tests themselves ({status})", ""


def baseline(tests: Iterable[str]) -> None:
    """Every test that is said to kill passes without any patch."""
    wanted = sorted(set(tests))
    with tempfile.TemporaryDirectory(prefix="baseline-") as name:
        copy_tree(Path(name))
        status, failed = run_tests(Path(name), wanted) if wanted else (PASSED, "")
        if status != PASSED:
            raise SystemExit(f"without any patch {failed or 'a test'} fails (exit {status})")


def _tried(mutant: Mutant) -> Tried:
    start = time.monotonic()
    result, killer = verdict(mutant)
    seconds = time.monotonic() - start
    print(f"{result:9} {seconds:5.1f} s  {mutant.path.stem}: {mutant.name}", flush=True)
    return Tried(mutant, result, killer, seconds)


def main(words: list[str]) -> int:
    learn, words = "--learn" in words, [word for word in words if word != "--learn"]
    paths, killers = sorted(HERE.glob("*.patch")), read_killers()
    chosen = [path for path in paths if not words or any(word in path.name for word in words)]
    mutants = [read_mutant(path, killers) for path in chosen]
    baseline(mutant.killer for mutant in mutants if mutant.killer)
    tried: list[Tried] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(_tried, mutants):
            tried.append(one)
            if learn:
                write_killers([one])
    baseline(one.killer for one in tried if one.killer != one.mutant.killer)
    killed = sum(one.verdict == "killed" for one in tried)
    print(f"{killed} killed, {len(tried) - killed} survived")
    return PASSED if killed == len(tried) else FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
