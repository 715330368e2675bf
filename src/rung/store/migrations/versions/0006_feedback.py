"""What people said and did about answers, and what they allowed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "signals",
        sa.Column("id", serial, primary_key=True),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_index("signals_answer", "signals", ["answer"])
    op.create_index("signals_person", "signals", ["person"])
    op.create_table(
        "approvals",
        sa.Column("id", serial, primary_key=True),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("gate", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
    )
