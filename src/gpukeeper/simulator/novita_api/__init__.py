"""Novita's routes as the simulator answers them, truthfully or with faults."""
