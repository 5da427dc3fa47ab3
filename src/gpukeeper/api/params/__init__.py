"""What requests may say: bodies, fields and queries, and what is said of their faults."""
