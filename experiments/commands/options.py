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
FRESH = click.option(
    "--fresh", "source", flag_value="fresh", help="Pay for a new release in any case."
)
PAST = click.option(
    "--past", "source", flag_value="past", help="Give a past release, or none; never pay."
)
FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "arrow"]),
    help="How the answer is written; a table unless said otherwise. arrow is an Arrow IPC file.",
)
OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="Write the answer into this file."
)
