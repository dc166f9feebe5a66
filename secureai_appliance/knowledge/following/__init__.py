"""Folders of the server that bases are filled from, and the looks at them."""
