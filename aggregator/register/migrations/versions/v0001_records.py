"""Metas, quarantine, edge states. Files from before there were versions have them already."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Take the step."""
    present = set(sa.inspect(op.get_bind()).get_table_names())
    if "meta" not in present:
        op.create_table(
            "meta",
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("hash", sa.String(64), nullable=False),
            sa.Column("region", sa.String(63), nullable=False),
            sa.Column("site", sa.String(63), nullable=False),
            sa.Column("edge", sa.String(63), nullable=False),
            sa.Column("payload", sa.LargeBinary, nullable=False),
            sa.Column("used_ms", sa.BigInteger, nullable=False),
            sa.UniqueConstraint("hash", "region", "site", "edge"),
        )
    elif "first_seen_ms" in {c["name"] for c in sa.inspect(op.get_bind()).get_columns("meta")}:
        op.alter_column("meta", "first_seen_ms", new_column_name="used_ms")
    if "quarantine" not in present:
        op.create_table(
            "quarantine",
            sa.Column("hash", sa.String(64), primary_key=True),
            sa.Column("topic", sa.String, nullable=False),
            sa.Column("reason", sa.String, nullable=False),
            sa.Column("payload", sa.LargeBinary, nullable=False),
            sa.Column("size", sa.Integer, nullable=False),
            sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
            sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
            sa.Column("seen", sa.Integer, nullable=False),
        )
    op.create_index(
        "quarantine_age", "quarantine", ["first_seen_ms", "hash", "size"], if_not_exists=True
    )
    if "edge_state" not in present:
        op.create_table(
            "edge_state",
            sa.Column("region", sa.String(63), primary_key=True),
            sa.Column("site", sa.String(63), primary_key=True),
            sa.Column("edge", sa.String(63), primary_key=True),
            sa.Column("payload", sa.LargeBinary, nullable=False),
            sa.Column("received_ms", sa.BigInteger, nullable=False),
        )
