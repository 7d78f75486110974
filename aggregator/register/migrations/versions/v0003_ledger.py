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
    op.create_table(
        "meter_event",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("region", sa.String(63), nullable=False),
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("meter", sa.String(63), nullable=False),
        sa.Column("channel", sa.String(63), nullable=False),
        sa.Column("edge", sa.String(63), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=True),
        sa.Column("final_micro", sa.BigInteger(), nullable=True),
        sa.Column("start_micro", sa.BigInteger(), nullable=True),
        sa.Column("value_micro", sa.BigInteger(), nullable=True),
        sa.Column("factor", sa.String(63), nullable=True),
        sa.Column("offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("told_ms", sa.BigInteger(), nullable=False),
        sa.Column("undone_ms", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.String(), nullable=False),
        sa.Column("undone_why", sa.String(), nullable=False),
    )
    op.create_index("meter_event_of_site", "meter_event", ["region", "site", "at_ms"])
    op.create_table(
        "applied",
        sa.Column("region", sa.String(63), primary_key=True),
        sa.Column("site", sa.String(63), primary_key=True),
        sa.Column("meter", sa.String(63), primary_key=True),
        sa.Column("channel", sa.String(63), primary_key=True),
        sa.Column("registers", sa.String(), nullable=False),
    )
