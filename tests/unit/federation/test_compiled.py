"""SQLite files share what their statements were compiled to, and nothing that was found."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import CacheStats

from federation.engines import open_at, reading, writing

NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.Text, primary_key=True))


def test_a_statement_is_compiled_once_for_all_files(tmp_path: Path) -> None:
    seen = []
    for name in ("one", "other"):
        engine = open_at(sa.URL.create("sqlite", database=str(tmp_path / name)), lock=1)
        with writing(engine) as connection:
            NOTES.create(connection)
            connection.execute(sa.insert(NOTES).values(text=name))
        with reading(engine) as connection:
            found = connection.execute(sa.select(NOTES).where(NOTES.c.text != "none"))
            seen.append(found.context.cache_hit)
            assert found.scalars().all() == [name]
        engine.dispose()
    assert seen == [CacheStats.CACHE_MISS, CacheStats.CACHE_HIT]
