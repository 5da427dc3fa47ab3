"""What Alembic runs: the revisions, on the connection that the caller opened."""

from alembic import context

from gpukeeper.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
