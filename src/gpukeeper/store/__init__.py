"""The only package that knows SQL: tables, transactions, and the units of work on them."""
