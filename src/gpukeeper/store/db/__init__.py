"""How SQL is run: connections, transactions, threads, caches and outages."""
