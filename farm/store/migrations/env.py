"""Run by Alembic from ``Store.migrate``, which lends it an open transaction."""

from alembic import context

from farm.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
