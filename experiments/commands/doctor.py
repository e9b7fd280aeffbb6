"""`entrepot doctor`: check what every other command needs."""

import json
from pathlib import Path

import click


@click.command()
@click.option("--federation", type=click.Path(path_type=Path), help="Folder of the federation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(federation: Path | None, as_json: bool) -> int:
    """Check versions, loopback ports, disk and, where there is a federation, its keys."""
    from experiments.checkup import checkup

    findings = checkup(federation)
    if as_json:
        value = {
            "schema": "entrepot.doctor/1",
            "ok": all(finding.ok for finding in findings),
            "findings": [finding.to_json() for finding in findings],
        }
        click.echo(json.dumps(value, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(f"{'✓' if finding.ok else '✗'} {finding.name}: {finding.said}")
    return 0 if all(finding.ok for finding in findings) else 1
