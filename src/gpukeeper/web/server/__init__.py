"""The HTTP server: connections, their limits, and the proxies in front of it."""
