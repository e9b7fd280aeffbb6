"""What alembic runs for every command: on the connection, and in the transaction, that it is given.

SQLite takes changes of tables back like any other; alembic has to be told.
"""

from alembic import context

from aggregator.tables import version

context.configure(
    connection=context.config.attributes["connection"],
    version_table=version.name,
    transactional_ddl=True,
)
context.run_migrations()
