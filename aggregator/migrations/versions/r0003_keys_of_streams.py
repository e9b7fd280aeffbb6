"""Which key a party's streams have, once it exchanged the one that it enrolled with."""

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """No party has exchanged its key yet."""
    if "streams" not in context.config.attributes["tables"]:
        return
    op.create_table(
        "streams",
        sa.Column("party", TEXT, primary_key=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("before", sa.LargeBinary),
        sqlite_strict=True,
    )
