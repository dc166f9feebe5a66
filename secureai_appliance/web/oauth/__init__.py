"""OAuth 2.0 over HTTP: the endpoints of clients, and the pages where users decide."""
