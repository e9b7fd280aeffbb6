"""Break the code on purpose, one patch at a time, and see that its tests notice.

Every `*.patch` beside this file begins with two comment lines: what it breaks, in English, and
`# tests:` with the test files that must fail. Run all, or those whose file name contains a word:

    python tests/mutations/run.py [--learn] [WORD ...]

`killers.txt` remembers which test killed each mutant last time. That test is tried first, alone; if
it does not notice, all the files are. `--learn` writes down what killed each mutant now.

Nothing is changed in the working tree: a mutant is a copy of it. Tests run in processes forked from
one that has loaded the libraries already, since loading them takes longer than most tests; our own
code is never loaded there, so that each process loads its mutant's. Properties try the same
examples everywhere (Hypothesis's profile for CI), so that what killed a mutant kills it again.
Exit 1 if a mutant survives or runs out of time, a patch does not apply, or a test that kills fails
without any patch.
"""

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing import get_context
from pathlib import Path

import numba

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KILLERS = HERE / "killers.txt"
PACKAGES = ("policies", "secure_compute", "federation", "clients", "aggregator", "experiments")
TIMEOUT = 600  # seconds for the tests of one mutant, or for a part of those without any
KERNELS = "test_kernels.py"  # what needs that which is compiled; others go by arrays
AT_ONCE = 12  # tests in such a part
SAID = "said.txt"

PASSED, FAILED, LATE = 0, 1, 124  # what pytest exits with, and what `timeout` would
_IMPORT = re.compile(r"^ *(?:from (\S+) import .+|import (\S+)(?: as \w+)?)$", re.MULTILINE)
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)
# Assertions stay plain: nobody reads why one failed, and telling two long boxes apart takes hours.
_QUIET = ("-x", "-q", "-rfE", "--tb=no", "--no-header", "--assert=plain", "-p", "no:cacheprovider")

forks = get_context("forkserver")


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


# -- running tests ---------------------------------------------------------------------------------


def libraries() -> list[str]:
    """Return what our code imports anywhere and is not ours, and what pytest runs with."""
    files = [file for package in (*PACKAGES, "tests") for file in (ROOT / package).rglob("*.py")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    found = {plain or whole for text in texts for whole, plain in _IMPORT.findall(text)}
    ours = {*PACKAGES, "tests", *sys.stdlib_module_names}
    plugins = [plugin.module for plugin in entry_points(group="pytest11")]
    return ["pytest", *plugins, *sorted(n for n in found if n.partition(".")[0] not in ours)]


def run_tests(folder: Path, tests: Iterable[str], *, compiled: bool = False) -> tuple[int, str]:
    """Return pytest's exit status and the first test that failed, or ""."""
    with tempfile.TemporaryDirectory(prefix="said-", ignore_cleanup_errors=True) as own:
        words = (folder, Path(own), [*_QUIET, *tests], compiled)
        child = forks.Process(target=_pytest, args=words)
        child.start()
        child.join(TIMEOUT)
        if child.exitcode is None:
            child.kill()
            child.join()
            return LATE, ""
        found = _FAILURE.search((Path(own) / SAID).read_text(encoding="utf-8", errors="replace"))
        return child.exitcode, found.group(1) if found else ""


def _pytest(folder: Path, own: Path, words: list[str], compiled: bool) -> None:
    """Become `python -m pytest WORDS` in `folder`; what it says and leaves behind lies in `own`."""
    gc.freeze()  # looking through the libraries takes longer than most tests
    os.chdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(own)
    os.environ["PYTHONPATH"] = sys.path[0] = str(folder)
    if not any(KERNELS in word for word in words):  # a compiler takes longer than most tests
        numba.config.DISABLE_JIT = True
    if not compiled:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = not compiled
    written = os.open(own / SAID, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(written, stream)
    import pytest
    from hypothesis import Phase, settings

    found = (Phase.explicit, Phase.reuse, Phase.generate)  # nobody reads a smaller example
    settings.register_profile("found", settings.get_profile("ci"), phases=found)
    settings.load_profile("found")
    status = int(pytest.main(words))
    sys.stdout.flush()
    os._exit(status)  # whatever the tests left running has no say in it


# -- trees -----------------------------------------------------------------------------------------


@contextmanager
def base_tree() -> Iterator[Path]:
    """Give a compiled copy of the working tree, for mutants to be linked to."""
    with tempfile.TemporaryDirectory(prefix="baseline-") as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.patch", "cheese")
        for package in (*PACKAGES, "tests"):
            shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", *PACKAGES], cwd=folder, check=True
        )
        yield folder


@contextmanager
def linked(base: Path) -> Iterator[Path]:
    """Give a tree of links to `base`; `git apply` puts new files in their place."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        left = shutil.ignore_patterns(".hypothesis")
        shutil.copytree(base, name, copy_function=os.link, dirs_exist_ok=True, ignore=left)
        yield Path(name)


def verdict(base: Path, mutant: Mutant) -> tuple[str, str]:
    """Return `killed` or what else came of it, and the test that noticed."""
    with linked(base) as folder:
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


def baseline(base: Path, tests: Iterable[str]) -> None:
    """Every test that is said to kill passes without any patch."""
    wanted = sorted(set(tests))
    parts = [wanted[first : first + AT_ONCE] for first in range(0, len(wanted), AT_ONCE)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for status, failed in pool.map(lambda part: run_tests(base, part, compiled=True), parts):
            if status != PASSED:
                raise SystemExit(f"without any patch {failed or 'a test'} fails (exit {status})")


def tell_changes(tried: Iterable[Tried]) -> list[str]:
    """Say which mutants were not noticed by the test that did so last time; return what did now."""
    changed = [one for one in tried if one.killer != one.mutant.killer]
    for one in changed:
        print(f"{one.mutant.path.stem}: noticed by {one.killer or 'nothing'}", flush=True)
    return [one.killer for one in changed if one.killer]


def _tried(base: Path, mutant: Mutant) -> Tried:
    start = time.monotonic()
    result, killer = verdict(base, mutant)
    seconds = time.monotonic() - start
    print(f"{result:9} {seconds:5.1f} s  {mutant.path.stem}: {mutant.name}", flush=True)
    return Tried(mutant, result, killer, seconds)


def main(words: list[str]) -> int:
    os.environ["CI"] = "true"
    learn, words = "--learn" in words, [word for word in words if word != "--learn"]
    paths, killers = sorted(HERE.glob("*.patch")), read_killers()
    chosen = [path for path in paths if not words or any(word in path.name for word in words)]
    mutants = [read_mutant(path, killers) for path in chosen]
    forks.set_forkserver_preload(libraries())
    with base_tree() as base, tempfile.TemporaryDirectory(prefix="kernels-") as kept:
        os.environ["XDG_CACHE_HOME"] = kept  # what is compiled of mutants is nobody's afterwards
        tried = _all_tried(base, mutants, learn)
    survivors = [one for one in tried if one.verdict != "killed"]
    for one in survivors:
        print(f"{one.verdict}: {one.mutant.path.name}")
    print(f"{len(tried) - len(survivors)} killed, {len(survivors)} survived")
    return FAILED if survivors else PASSED


def _all_tried(base: Path, mutants: list[Mutant], learn: bool) -> list[Tried]:
    baseline(base, (mutant.killer for mutant in mutants if mutant.killer))
    tried: list[Tried] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(lambda mutant: _tried(base, mutant), mutants):
            tried.append(one)
            if learn:
                write_killers([one])
    baseline(base, tell_changes(tried))
    return tried


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
