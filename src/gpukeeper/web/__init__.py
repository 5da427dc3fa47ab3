"""The floor that the API and the dashboard share: the way in, and the way out of every error."""
