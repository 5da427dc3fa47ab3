"""The only folder that knows Novita: its JSON, its words, its errors and how to call it."""
