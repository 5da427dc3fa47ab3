"""Webhooks on the wire: how one is signed, which addresses it may reach, and how it is sent."""
