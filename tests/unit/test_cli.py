"""The command line: light at the start, one sentence at the end."""

import errno
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import COMMANDS, entrepot, run
from experiments.founding import DEMO_SEATS, found, free_ports
from tests.simulator import LIMITS

READ_ONLY = OSError(errno.EROFS, "Read-only file system", "/srv/merchant-de/offer.json")
HEAVY = ("flwr", "torch", "hydra", "pandas", "sqlalchemy", "dp_accounting", "numpy")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from experiments.cli import run\n"
        "run(['--help'])\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("HEAVY []")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["train", "weather"],
        ["budget", "show", "--federation", "/nowhere/at/all"],
        ["query", "SELECT COUNT(*) FROM orders", "--federation", "/nowhere/at/all"],
        ["bench", "nothing"],
    ],
)
def test_bad_words_end_with_two_and_one_sentence(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.strip()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ["budget", "show"],
        ["audit", "show"],
        ["audit", "prove"],
        ["query", "SELECT COUNT(*) FROM orders", "--explain"],
        ["train", "fraud", "--dry-run"],
    ],
)
def test_a_federation_that_lost_a_file_says_which(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = found(tmp_path / "home", "x", DEMO_SEATS, LIMITS, free_ports())
    where = ["--federation", str(home.folder)]
    (home.folder / "roster.bin").unlink()
    assert run([*words, *where]) == 2
    said = capsys.readouterr().err
    assert said == f"entrepot: {home.folder / 'roster.bin'} is missing; restore it from a copy\n"


@pytest.mark.parametrize(
    "content",
    [
        'name = "Entrepôt"'.encode("latin-1"),
        b'name = "x"',
        b'name = "x"\npin = 7\nanalyst = "a"',
        b'name = "x"\npin = "7"\nanalyst = "a"',
    ],
)
def test_a_damaged_federation_says_which_file_it_is(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "federation.toml").write_bytes(content)
    assert run(["budget", "show", "--federation", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"entrepot: {tmp_path / 'federation.toml'} is damaged (")
    assert said.endswith("; restore it from a copy\n")


def test_a_file_is_no_federation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["budget", "show", "--federation", str(tmp_path / "file")]) == 2
    assert "no federation in" in capsys.readouterr().err


@pytest.mark.parametrize("place", [".", "file/report.html", "beside.html"])
def test_a_demo_says_at_once_that_its_report_cannot_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(*_: object, **__: object) -> None:
        raise AssertionError("the demo has begun")

    monkeypatch.setattr("experiments.staging.stage", begin)
    (tmp_path / "file").touch()
    (tmp_path / "beside.json").mkdir()
    assert run(["demo", "--report", str(tmp_path / place)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"entrepot: {tmp_path}")
    assert " cannot be written: " in said


@pytest.mark.parametrize("place", ["file", "file/kept"])
def test_a_demo_that_cannot_keep_its_folders_says_so(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    kept, report = tmp_path / place, tmp_path / "report.html"
    assert run(["demo", "--keep", str(kept), "--report", str(report)]) == 2
    assert f"{kept} cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "name", "code"),
    [
        ("federation.errors", "RolledBackError", 30),
        ("federation.errors", "InconsistentLogError", 30),
        ("federation.errors", "LedgerMismatchError", 30),
        ("federation.errors", "ClockError", 30),
        ("clients.errors", "BrokenBooksError", 30),
        ("policies.errors", "ForeignBooksError", 2),
        ("policies.errors", "UnknownWindowError", 2),
        ("federation.errors", "ForeignLedgerError", 2),
        ("experiments.errors", "BudgetExhaustedError", 11),
        ("federation.errors", "TooFewWitnessesError", 1),
    ],
)
def test_errors_end_with_their_documented_code(
    package: str,
    name: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = getattr(importlib.import_module(package), name)

    def fail(*_: object, **__: object) -> None:
        raise error("one clear sentence")

    monkeypatch.setattr(entrepot, "main", fail)
    assert run(["doctor"]) == code
    assert capsys.readouterr().err == "entrepot: one clear sentence\n"


def test_help_names_what_budget_and_audit_do(capsys: pytest.CaptureFixture[str]) -> None:
    for name, verbs in {
        "budget": ("show", "what-if", "forecast"),
        "audit": ("show", "prove", "verify"),
    }.items():
        for verb in verbs:
            assert run([name, verb, "--help"]) == 0
            assert "--json" in capsys.readouterr().out


def test_a_disk_that_takes_nothing_is_no_defect_and_says_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise READ_ONLY

    monkeypatch.setattr("experiments.cli.entrepot.main", fails)
    assert run(["node", "join", "TOKEN"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "/srv/merchant-de/offer.json: Read-only" in said
    assert "unexpected" not in said and "see that this user may" in said
