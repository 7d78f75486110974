"""Closed months, and their figures as they were reported."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "closing",
        sa.Column("region", sa.String(63), primary_key=True),
        sa.Column("month_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=False),
        sa.Column("factor_set", sa.String(63), nullable=False),
        sa.Column("restatements_upto", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "reported",
        sa.Column("region", sa.String(63), primary_key=True),
        sa.Column("month_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("site", sa.String(63), primary_key=True),
        sa.Column("meter", sa.String(63), primary_key=True),
        sa.Column("channel", sa.String(63), primary_key=True),
        sa.Column("from_ms", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("carrier", sa.String(63), nullable=False),
        sa.Column("role", sa.String(63), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("amount_estimated", sa.BigInteger(), nullable=False),
        sa.Column("amount_held", sa.BigInteger(), nullable=False),
        sa.Column("measured_ms", sa.BigInteger(), nullable=False),
        sa.Column("estimated_ms", sa.BigInteger(), nullable=False),
        sa.Column("missing_ms", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.BigInteger(), nullable=False),
        sa.Column("kgce_calorific", sa.Double(), nullable=True),
        sa.Column("kgce_equivalent", sa.Double(), nullable=True),
        sa.Column("co2_kg", sa.Double(), nullable=True),
        sa.Column("cost_cny", sa.Double(), nullable=True),
    )
