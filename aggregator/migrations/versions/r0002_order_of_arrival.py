"""Jobs know in which order they were put on the table.

Of two that were put there in one moment SQLite took the first, by a number of its own that no other
database has.
"""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"

WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NUMBERED = {
    "sqlite": "UPDATE jobs SET arrived = rowid",
    "postgresql": "UPDATE jobs SET arrived = place FROM "
    "(SELECT id AS one, row_number() OVER (ORDER BY created, id) AS place FROM jobs) AS placed "
    "WHERE id = one",
}


def upgrade() -> None:
    """Every job gets the next number."""
    if "jobs" not in context.config.attributes["tables"]:
        return
    arrived = sa.Column("arrived", WHOLE, nullable=False, server_default=sa.text("0"))
    op.add_column("jobs", arrived)
    op.execute(NUMBERED[op.get_context().dialect.name])
