"""The HTTP API: requests in, answers of the use cases or problems out."""
