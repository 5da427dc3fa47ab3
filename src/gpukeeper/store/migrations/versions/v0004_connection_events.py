"""Instances know their machine's last start, and tell when it is reached in another way.

Both are in stored bodies: a field that is learned again where it is missing, and a word of an
event that older programs cannot read.
"""

revision = "0004"
down_revision = "0003"
oldest_program = "0004"


def upgrade() -> None:
    """Change nothing: the schema only says which programs can read what is stored."""
