"""How each revision of the aggregator's tables is made from the one before; alembic runs it."""
