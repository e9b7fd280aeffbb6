"""Asks whoever sits at the terminal. A no, Ctrl-C, and nobody there are three different things."""

import click

from experiments.errors import NobodyAnswersError, NotAgreedError


def agrees(question: str) -> bool:
    """Return whether the person says yes.

    Raises:
        NobodyAnswersError: nobody is there to be asked.
        click.Abort: the person interrupts.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort as why:
        _require_somebody(why, "run it at a terminal, or with --yes; nothing was signed")
        raise


def require_agreed(question: str, yes: bool) -> None:
    """Return if the person says yes, or has said so with `--yes`; errors: `agrees`.

    Raises:
        NotAgreedError: the person says no.
    """
    if not (yes or agrees(question)):
        raise NotAgreedError("not agreed: nothing was signed")


def secret(what: str, instead: str) -> str:
    """Return what the person types unseen.

    instead: what to do where nobody is there to be asked.

    Raises:
        NobodyAnswersError, click.Abort: see `agrees`.
    """
    try:
        return str(click.prompt(what, err=True, hide_input=True))
    except click.Abort as why:
        _require_somebody(why, instead)
        raise


def _require_somebody(why: click.Abort, instead: str) -> None:
    # click says Abort for Ctrl-C and for an input that has ended; the latter is what it came from.
    if isinstance(why.__context__, EOFError):
        raise NobodyAnswersError(f"nobody is there to be asked: {instead}") from None
