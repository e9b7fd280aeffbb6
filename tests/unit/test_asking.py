"""A no, Ctrl-C, and nobody there are three ends, and each says what happened."""

from collections.abc import Callable

import click
import pytest

from experiments.cli import run
from experiments.commands.asking import agrees, require_agreed, secret
from experiments.errors import NobodyAnswersError, NotAgreedError


def answering(monkeypatch: pytest.MonkeyPatch, answer: str | type[BaseException]) -> None:
    """Whoever is asked types `answer`, or does what raises it."""

    def typed(_: str) -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("click.termui.visible_prompt_func", typed)
    monkeypatch.setattr("click.termui.hidden_prompt_func", typed)


ASKING: list[Callable[[], object]] = [
    lambda: agrees("Well?"),
    lambda: require_agreed("Well?", yes=False),
    lambda: secret("code", "name it with --code"),
]


@pytest.mark.parametrize("asking", ASKING)
def test_bad_nobody_there_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, asking: Callable[[], object]
) -> None:
    answering(monkeypatch, EOFError)
    with pytest.raises(NobodyAnswersError, match=r"nobody is there to be asked: .+ --"):
        asking()


@pytest.mark.parametrize("asking", ASKING)
def test_who_interrupts_is_not_nobody(
    monkeypatch: pytest.MonkeyPatch, asking: Callable[[], object]
) -> None:
    answering(monkeypatch, KeyboardInterrupt)
    with pytest.raises(click.Abort):
        asking()


def test_a_no_is_no_and_a_yes_is_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "n")
    assert not agrees("Well?")
    with pytest.raises(NotAgreedError, match="nothing was signed"):
        require_agreed("Well?", yes=False)
    require_agreed("Well?", yes=True)
    answering(monkeypatch, "y")
    assert agrees("Well?")
    require_agreed("Well?", yes=False)


@pytest.mark.parametrize(("answer", "code"), [("n", 12), (EOFError, 2), (KeyboardInterrupt, 130)])
def test_each_has_its_exit_code_and_nobody_leaves_by_it(
    monkeypatch: pytest.MonkeyPatch,
    simulation,  # type: ignore[no-untyped-def]
    answer: str | type[BaseException],
    code: int,
) -> None:
    from clients.rosters import LEAVING
    from tests.simulator import CN

    answering(monkeypatch, answer)
    folder = simulation.folder(CN)
    assert run(["node", "leave", str(folder)]) == code
    assert not (folder / LEAVING).exists()
