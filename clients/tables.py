"""What a node's table looks like from outside: its schema, never its rows."""

from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException

from clients.errors import NodeSettingsError
from clients.settings import NodeSettings
from policies.conformance import Conformant, conform
from policies.contracts import DataContract


def conform_table(contract: DataContract, table: Path) -> Conformant:
    """Hold the Parquet file `table` to its contract.

    Raises:
        NodeSettingsError: there is no such file, or it is not Parquet.
        NonConformantError: it is not what the contract promises.
    """
    try:
        with pq.ParquetFile(table) as file:
            schema = {field.name: str(field.type) for field in file.schema_arrow}
            empty = file.metadata.num_rows == 0
    except FileNotFoundError as why:
        raise NodeSettingsError(
            f"{table} is missing; put the rows of contract {contract.name} there"
        ) from why
    except ArrowException as why:
        raise NodeSettingsError(
            f"{table} is not a whole Parquet file; export the rows of {contract.name} again"
        ) from why
    return conform(contract, schema, empty)


def marks_of(settings: NodeSettings, contract: DataContract) -> tuple[str, ...]:
    """Return what identifies where the rows of `contract` come from, and the file they are in."""
    source = settings.sources.get(contract.table)
    return (*file_marks(settings.table(contract)), *(source.place.marks if source else ()))


def require_snapshots(settings: NodeSettings) -> None:
    """Accept a folder in which every source was read at least once.

    Raises:
        NodeSettingsError: one never was.
    """
    for table, source in settings.sources.items():
        if not settings.snapshot(table).exists():
            raise NodeSettingsError(
                f"{table} was never read from {source.place.spoken}; run "
                f"`entrepot node refresh {settings.folder}`"
            )


def file_marks(table: Path) -> tuple[str, ...]:
    """Return what identifies the file of a table: its true path, and its number on the device."""
    state = table.stat()
    return str(table.resolve()), f"{state.st_dev}:{state.st_ino}"
