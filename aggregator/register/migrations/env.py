"""What Alembic runs: the steps, on the connection that `aggregator.register.engine` hands over."""

from alembic import context

from aggregator.register.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite too: the caller has begun the transaction by hand
)
context.run_migrations()
