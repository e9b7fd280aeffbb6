"""Whether every source of a node has the columns that are read of it; no row is looked at.

A file says it in its head. A database is asked for its catalogue where its operator asks for
connections; else the newest snapshot says which columns came when it was last read.
"""

from collections.abc import Collection, Iterator

import pyarrow.parquet as pq

from clients.errors import ClientError, SourceError, UnreachableSourceError
from clients.settings import NodeSettings
from clients.snapshots import columns, newest
from clients.sources.declared import Database, File, Source
from clients.sources.lacking import Lack, lacking
from clients.sources.wanted import Wanted, nearest, wanted_of
from experiments.health_line import Line

_AREA = "sources"
_FEW = 12
"""How many columns are listed where none is near to what was named."""
_HEAD = 60
"""How much is shown of a first line that nothing cuts."""


def sources(settings: NodeSettings, *, connect: bool) -> Iterator[Line]:
    """Give one line for each column that a source lacks, or one for a source that lacks none."""
    for source in settings.sources.values():
        try:
            wanted = wanted_of(source, settings.contracts().values())
        except SourceError as why:
            yield _untold(source, why, is_wrong=True)
            continue
        if isinstance(source.place, Database) and not connect:
            yield from _when_last_read(settings, source, wanted)
        else:
            yield from _as_it_is(settings, source, wanted)


def _as_it_is(settings: NodeSettings, source: Source, wanted: Wanted) -> Iterator[Line]:
    try:
        there = columns(source.place, settings.folder)
    except UnreachableSourceError as why:
        yield Line("reach", source.table, "fail", str(why))
        return
    except ClientError as why:  # a file may be brought for each refresh, and taken away after it
        yield _untold(source, why, is_wrong=not _is_away(source))
        return
    found = lacking(wanted, there)
    if found and len(there) == 1 and _is_cut(source):
        yield _uncut(settings, source, found, there[0])
        return
    yield from (_lacks(settings, source, one, there) for one in found)
    if not found:
        said = f"{source.place.spoken} has every column that is read of it"
        yield Line(_AREA, source.table, "ok", said)


def _when_last_read(settings: NodeSettings, source: Source, wanted: Wanted) -> Iterator[Line]:
    spoken, snapshot = source.place.spoken, newest(settings, source.table)
    if not snapshot.exists():  # `clients.tables.require_snapshots` says it
        return
    there = pq.read_schema(snapshot).names
    gone = [name for name in wanted.ways if name not in there]
    for name in gone:
        named = " and ".join(wanted.way(name).sources)
        said = (
            f"columns.{name} of [sources] names {named}, and nothing came for it when {spoken} was "
            "last read"
        )
        fix = (
            f"`entrepot node check {settings.folder} --connect` asks the database what it has; "
            f"correct node.toml, then run `entrepot node refresh {settings.folder}`"
        )
        yield Line(_AREA, source.table, "fail", said, fix)
    if not gone:
        said = f"{spoken} had every column when it was last read; --connect asks the database"
        yield Line(_AREA, source.table, "ok", said)


def _lacks(settings: NodeSettings, source: Source, lack: Lack, there: Collection[str]) -> Line:
    spoken, near = source.place.spoken, nearest(lack.source, sorted(there)) or _listed(there)
    if lack.declared:
        said = f"columns.{lack.column} of [sources] names {lack.source}, which {spoken} does not"
        said, do = f"{said} have{near}", f"name one that it has in {_where(source)}"
    else:
        said = f"a contract promises {lack.column}, which {spoken} does not have{near}"
        do = f"say in {_where(source)} which column it is, or add it to the table"
    fix = f"{do}, then run `entrepot node refresh {settings.folder}`"
    return Line(_AREA, source.table, "fail", said, fix)


def _uncut(settings: NodeSettings, source: Source, found: Collection[Lack], only: str) -> Line:
    lacks = ", ".join(sorted({one.column for one in found})[:_FEW])
    said = (
        f"{source.place.spoken} has one column alone, {only[:_HEAD]!r}, and nothing comes for "
        f"{lacks}: is the delimiter right?"
    )
    fix = (
        f"let delimiter in {_where(source)} be what stands between the columns; without one it is "
        f"a comma; then run `entrepot node refresh {settings.folder}`"
    )
    return Line(_AREA, source.table, "fail", said, fix)


def _is_cut(source: Source) -> bool:
    return isinstance(source.place, File) and source.place.path.suffix == ".csv"


def _is_away(source: Source) -> bool:
    return isinstance(source.place, File) and not source.place.path.is_file()


def _listed(there: Collection[str]) -> str:
    few = ", ".join(sorted(there)[:_FEW])
    return f": it has {few}" + (", and more" if len(there) > _FEW else "")


def _untold(source: Source, why: ClientError, *, is_wrong: bool) -> Line:
    fix = f"see {_where(source)}"
    return Line(_AREA, source.table, "fail" if is_wrong else "warn", str(why), fix)


def _where(source: Source) -> str:
    return f'[sources."{source.table}"] of node.toml'
