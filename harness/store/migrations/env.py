"""Entry point of alembic; `harness.store.connect.migrate` sets the connection."""

from alembic import context

from harness.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
