"""Options that several sub-commands share."""

from pathlib import Path

import click

FEDERATION = click.option(
    "--federation", type=click.Path(path_type=Path), help="Folder of the federation."
)
LANGUAGE = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", help="Language of tables and words."
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
