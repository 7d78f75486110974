"""Profiles by which gaps are spread; what was estimated of a month that was closed."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "profiles",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("carrier", sa.String(), nullable=False),
        sa.Column("weekday", sa.String(), nullable=False),
        sa.Column("weekend", sa.String(), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("site", "meter", "carrier", "valid_from_ms"),
    )
    for name in ("open_amount", "open_ms"):
        none = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        op.add_column("reported", none)
