"""Which keys of streams were certified for whoever asked for a member's seat."""

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Nobody has asked yet: no version before certified anybody in a member's seat."""
    if "asked" not in context.config.attributes["tables"]:
        return
    op.create_table(
        "asked",
        sa.Column("party", TEXT, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sqlite_strict=True,
    )
