"""How the command line writes to people and to scripts."""
