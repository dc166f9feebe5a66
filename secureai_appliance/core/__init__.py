"""Leaf code that every room may import and that imports no room."""
