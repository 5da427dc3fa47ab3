"""The public bodies, each defined once: OpenAPI document, response, webhook and client type."""
