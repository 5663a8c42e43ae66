"""Run by alembic; the connection is handed in by `harness.store.store`."""

from alembic import context

from harness.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
