"""The law of a node's folder, read once: `policy/*.cedar`, its schema, and what is on record.

The rules of a territory are written from a pack. The one that is installed holds unless the node's
operator keeps another in `policy/pack.toml`, with mechanisms that this node alone has on record.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from clients.settings import read_text
from policies.engine import Law, load_law
from policies.errors import MalformedLawError
from policies.law.bundle import SCHEMA_NAME
from policies.law.packs import Pack, load_pack, packs
from policies.parties import Jurisdiction

PACK_NAME: Final = "pack.toml"


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
    return _law(tuple(read_text(path) for path in paths), read_text(schema))


@lru_cache(32)
def _law(texts: tuple[str, ...], schema: str) -> Law:
    return load_law(texts, schema)  # the same texts are validated once, good ones that is


def load_packs(folder: Path) -> Mapping[Jurisdiction, Pack]:
    """Return the packs in force at the node whose `policy` directory is `folder`.

    Raises:
        MalformedPackError: the operator's own pack does not hold together.
    """
    own = folder / PACK_NAME
    if not own.is_file():
        return packs()
    pack = load_pack(read_text(own))
    return {**packs(), pack.jurisdiction: pack}
