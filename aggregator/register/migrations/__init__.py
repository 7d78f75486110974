"""The database's versions: steps that Alembic takes whenever a database is opened."""
