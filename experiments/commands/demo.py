"""`entrepot demo`: a whole federation on this machine."""

import json
import shlex
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

TRY = (
    'entrepot query "SELECT category, COUNT(*) FROM orders GROUP BY category" --explain',
    "entrepot train fraud privacy.epsilon=1",
    "entrepot budget show",
    "entrepot audit show --kind refused",
)


@click.command()
@click.option("--stay", is_flag=True, help="Leave the federation up in the background.")
@click.option("--stop", is_flag=True, help="End a federation that --stay left up.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep folders and books in DIR.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", help="Language.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--federation", type=click.Path(path_type=Path), help="Folder used by --stay.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    default=Path("entrepot-report.html"),
    show_default=True,
    help="Where the report goes; JSON, a picture and the ledgers lie beside it.",
)
def command(
    stay: bool,
    stop: bool,
    keep: Path | None,
    lang: str,
    as_json: bool,
    federation: Path | None,
    report: Path,
) -> int:
    """Start an aggregator, eight nodes and three keyholders; train, ask, be refused, report."""
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end: end the nodes first
    from experiments.home import choose_folder, open_home
    from experiments.running import is_running, stop_left

    folder = keep or (choose_folder(federation) if stay or stop else None)
    if stop:
        told = stop_left(open_home(folder))
        click.echo(f"{told} supervisors told to stop", err=True)
        return 0
    if folder and (folder / "federation.toml").exists() and is_running(open_home(folder)):
        from experiments.errors import UsageError

        raise UsageError(f"the federation in {folder} is up; end it with `entrepot demo --stop`")
    named = keep or federation
    where = f" --federation {shlex.quote(str(named))}" if named else ""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="entrepot-")))
        code = _play(folder, begun, lang, report, keep=bool(keep), stay=stay, as_json=as_json)
    if stay:
        commands = "".join(f"  {line}{where}\n" for line in TRY)
        click.echo(f"The federation is up. Try:\n{commands}End it with:", err=True)
        click.echo(f"  entrepot demo --stop{where}", err=True)
    return code


def _play(
    folder: Path,
    begun: float,
    lang: str,
    report: Path,
    *,
    keep: bool,
    stay: bool,
    as_json: bool,
) -> int:
    from rich.console import Console

    from experiments.demo import play
    from experiments.files import require_place
    from experiments.ledgers import EXPORT, TRUST, write_ledger
    from experiments.outcome import Language, to_json
    from experiments.report.page import render
    from experiments.report.picture import write_picture
    from experiments.staging import stage
    from experiments.terminal import Steps, show

    language: Language = "zh" if lang == "zh" else "en"
    talk = Console(stderr=True)
    progress = Steps(talk, language)
    beside = (report.with_suffix(".json"), report.with_suffix(".svg"))
    for path in (report, *beside, *(report.with_name(name) for name in (EXPORT, TRUST))):
        require_place(path)  # long before it is written
    with progress.step("build"):
        staged = stage(folder, keep=keep)
    outcome = play(staged, progress, language, stay=stay, begun=begun)
    with progress.step("ledger"):
        ledger = write_ledger(staged.home, report.parent)
        outcome = replace(outcome, ledger=ledger, seconds=time.monotonic() - begun)
    with progress.step("report"):
        report.write_text(render(outcome, language), encoding="utf-8")
        value = to_json(outcome)
        text = json.dumps(value, ensure_ascii=False, indent=2)
        report.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        write_picture(outcome, report.with_suffix(".svg"), language)
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        show(outcome, language, Console())
    written = (report, report.with_suffix(".json"), report.with_name(ledger.export))
    talk.print(" · ".join(map(str, written)), soft_wrap=True)
    if count := outcome.raw_rows_crossed:
        rows = "row" if count == 1 else "rows"
        click.echo(
            f"entrepot: {count} raw {rows} crossed a border; the report names the planted ids, "
            "and --keep DIR keeps the captures",
            err=True,
        )
        return 30
    if ledger.code:
        click.echo(f"entrepot: the ledgers do not verify: {ledger.verdict.en}", err=True)
        return 30
    return 0
