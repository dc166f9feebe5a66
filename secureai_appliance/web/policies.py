"""Content-Security-Policy: of data, and of pages."""

DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = f"{DATA_POLICY}; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'"
