"""Requests that were served and what came back about their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "served",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("correction", sa.Text),
        sa.Column("changed", sa.Double),
    )
    op.create_index("served_created", "served", ["created"])
