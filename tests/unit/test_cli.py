"""The command line: light at the start, one sentence at the end."""

import subprocess
import sys

import pytest

from experiments.cli import COMMANDS, run

HEAVY = ("flwr", "torch", "hydra", "pandas")


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
