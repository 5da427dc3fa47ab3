"""WHERE THE STATE MACHINE IS: every change of an instance's status, and the next step."""
