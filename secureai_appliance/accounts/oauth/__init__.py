"""The OAuth 2.0 server: Authlib says what the standards want; what is kept, and for whom, stands here."""
