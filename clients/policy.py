"""The law of a node's folder: `policy/*.cedar` with its schema, read once."""

from pathlib import Path

from clients.settings import read_text
from policies.engine import Law, load_law
from policies.errors import MalformedLawError
from policies.law.bundle import SCHEMA_NAME


def load_policy(folder: Path) -> Law:
    """Return the law in `folder`, the node's `policy` directory.

    Raises:
        NodeSettingsError: a text is no UTF-8.
        MalformedLawError: there is no policy or no schema, or a text is not valid.
    """
    paths = sorted(folder.glob("*.cedar"))
    schema = folder / SCHEMA_NAME
    if not paths or not schema.is_file():
        raise MalformedLawError(
            f"{folder.name}/ needs *.cedar files and {SCHEMA_NAME}; set the node up again"
        )
    return load_law([read_text(path) for path in paths], read_text(schema))
