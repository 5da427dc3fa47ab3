"""The simulated machines: their lives, their fates, and what they cost."""
