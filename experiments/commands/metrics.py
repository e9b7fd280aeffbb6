"""`entrepot metrics`: what a node or an aggregator tells Prometheus."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--listen", metavar="HOST:PORT", help="Answer scrapes there, until Ctrl-C.")
def command(folder: Path, listen: str | None) -> int:
    """Print the metrics of the node or aggregator in FOLDER, in Prometheus' text format.

    They are read from its folder and process table at every scrape: budgets, orders, ledger,
    certificate, memory. Nothing of them comes from a row.
    """
    from experiments.errors import UsageError
    from experiments.metrics import exposition, serve

    if listen is None:
        click.echo(exposition(folder), nl=False)
        return 0
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{listen!r} is no HOST:PORT; say 127.0.0.1:9464")
    server, thread = serve(folder, host, int(port))
    click.echo(f"answering on http://{listen}/metrics", err=True)
    try:
        thread.join()
    finally:
        server.shutdown()
    return 0
