"""Letters between agents."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "letters",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("box", sa.Text, nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("read", sa.Double, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("born", sa.Text, nullable=False),
        sa.UniqueConstraint("box", "key"),
    )
    op.create_index("letters_unread", "letters", ["box", "read", "id"])
    op.create_table(
        "subscriptions",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("box", sa.Text, primary_key=True),
    )
