"""Novita's routes as the simulator serves them, truthfully or with faults."""
