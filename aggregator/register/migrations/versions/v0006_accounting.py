"""Measured calorific values, deductions, demand contracts; what exactly restated a figure."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "calorific_values",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("carrier", sa.String(), nullable=False),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_to_ms", sa.BigInteger(), nullable=True),
        sa.Column("ncv_gj", sa.Double(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site", "carrier", "meter", "valid_from_ms"),
    )
    op.create_table(
        "deductions",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("carrier", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("period", sa.String(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site", "carrier", "kind", "period", "document"),
    )
    op.create_table(
        "demand_contracts",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.Column("contracted_kva", sa.Double(), nullable=True),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site", "meter", "valid_from_ms"),
    )
    op.add_column(
        "restatement", sa.Column("details", sa.String(), nullable=False, server_default="")
    )
    op.add_column(
        "meter_event",
        sa.Column("followed", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    # Figures were brought in line with an event when it was told.
    op.execute("UPDATE meter_event SET followed = (undone_ms IS NULL)")
