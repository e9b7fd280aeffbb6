"""A table of more than a million rows passes through a node that never holds it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import sourced
from tests.processes import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROWS = 1_500_000
FILL = {
    "postgresql": """
        INSERT INTO orders (order_id, customer_id, ts, amount, category, day, note)
        SELECT n, n % 5000, now(), n % 500, 'home', '2025-01-01', repeat(md5(n::text), 24)
        FROM generate_series(1, {rows}) n
    """,
    "mariadb": """
        INSERT INTO orders (order_id, customer_id, ts, amount, category, day, note)
        SELECT seq, seq % 5000, now(), seq % 500, 'home', '2025-01-01', repeat(md5(seq), 24)
        FROM seq_1_to_{rows}
    """,
}
GROWTH = """
import gc, json, resource, sys
import psutil
from pathlib import Path
from clients import snapshots
from clients.settings import load_settings
from clients.sources import mysql, postgresql

settings = load_settings(Path(sys.argv[1]))
import adbc_driver_postgresql.dbapi, pymysql, duckdb
source = settings.sources["orders.parquet"]
before = psutil.Process().memory_info().rss
if sys.argv[2] == "streamed":
    rows = snapshots.refresh(settings, source).shaped.rows
elif source.place.kind == "postgresql":
    with adbc_driver_postgresql.dbapi.connect(postgresql._conninfo(source.place, None)) as link:
        with link.cursor() as cursor:
            cursor.execute("SELECT order_id::text, customer_id, ts, amount::text, note FROM orders")
            rows = cursor.fetch_arrow_table().num_rows
else:
    link = mysql._connected(pymysql, source.place, None)
    cursor = link.cursor(pymysql.cursors.SSCursor)
    cursor.execute("SELECT order_id, customer_id, ts, amount, note FROM orders")
    rows = len(cursor.fetchall())
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([rows, most - before]))
"""


@pytest.mark.parametrize("kind", FILL)
def test_a_million_rows_are_never_held(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Less than half of what they take, and hardly more than a quarter of them need."""
    pytest.importorskip("adbc_driver_postgresql", reason="install the extra [postgres]")
    pytest.importorskip("pymysql", reason="install the extra [mysql]")
    url = request.getfixturevalue(kind)

    def laid(rows: int) -> Path:
        source = getattr(sourced, f"in_{kind}")(url, [])
        with getattr(sourced, kind)(url) as db:
            if kind == "mariadb":
                db.execute("ALTER TABLE orders MODIFY note varchar(800)")
            db.execute(FILL[kind].format(rows=rows))
        return sourced.folder(tmp_path / str(rows), source).folder

    few, many = laid(ROWS // 4), None
    quarter = growth(few, "streamed", ROWS // 4)
    many = laid(ROWS)
    whole, held = growth(many, "streamed", ROWS), growth(many, "held", ROWS)
    print(f"{kind}: {quarter >> 20} MiB, {whole >> 20} MiB; at once {held >> 20} MiB")
    if whole >= min(held / 2, quarter * 1.5):  # a busy machine adds to it, and takes nothing away
        whole = min(whole, growth(many, "streamed", ROWS))
    assert whole < held / 2
    assert whole < quarter * 1.5


def growth(folder: Path, way: str, rows: int) -> int:
    """Return by how many bytes a process grows that reads the table."""
    words = [sys.executable, "-c", GROWTH, str(folder), way]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found[0] == rows
    return int(found[1])
