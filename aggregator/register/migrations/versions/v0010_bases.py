"""Which factors and prices the stored measures of each site were made with."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "basis",
        sa.Column("site", sa.String(63), nullable=False),
        sa.Column("factor_set", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )
