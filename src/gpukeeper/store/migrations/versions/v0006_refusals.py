"""Instances remember what they were before a wish, and what listings left out, in their bodies.

Older programs leave these fields out when they change a row: an absence is then confirmed once
more, and a refusal is no way back.
"""

revision = "0006"
down_revision = "0005"
oldest_program = "0005"


def upgrade() -> None:
    """Leave the tables as they are."""
