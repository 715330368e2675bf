"""Episodes of agents: events, effects, blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "episodes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("parent", sa.Text, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("born", sa.Text, nullable=False),
    )
    op.create_index("episodes_scope", "episodes", ["scope"])
    op.create_index("episodes_started", "episodes", ["started"])
    op.create_table(
        "events",
        sa.Column("episode", sa.Text, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    learned = sa.text("kind = 'learned'")
    op.create_index("events_learned", "events", ["episode"], sqlite_where=learned, postgresql_where=learned)
    op.create_table(
        "effects",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("payload", sa.Text, nullable=False),
    )
