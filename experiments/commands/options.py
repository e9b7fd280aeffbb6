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
START = click.option(
    "--start", metavar="WHEN", help="Schedule: when the first begins, such as 2026-12-01T06:00."
)
EVERY = click.option("--every", metavar="SPAN", help="Schedule: how often, such as 12h, 1d or 7d.")
TIMES = click.option("--times", type=int, help="Schedule: how many orders, priced together.")
FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "json", "arrow"]),
    help="How the answer is written; a table unless said otherwise. arrow is an Arrow IPC file.",
)
OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="Write the answer into this file."
)
