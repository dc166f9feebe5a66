"""Server-rendered pages on the same functions as the API."""
