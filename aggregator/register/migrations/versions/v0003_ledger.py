"""What people said of the ledger and what changed in its settled figures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "restatement",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("region", sa.String(63), nullable=False),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("meter", sa.String(63), nullable=False),
        sa.Column("channel", sa.String(63), nullable=False),
        sa.Column("day_ms", sa.BigInteger(), nullable=False),
        sa.Column("measure", sa.String(63), nullable=False),
        sa.Column("from_value", sa.Double(), nullable=True),
        sa.Column("to_value", sa.Double(), nullable=True),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("found_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("restatement_of_day", "restatement", ["region", "site", "day_ms"])
