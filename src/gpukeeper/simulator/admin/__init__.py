"""The admin API of the simulator: script the world, and read what really happened in it."""
