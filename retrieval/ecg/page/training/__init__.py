"""Drawn training pages for the page reader, and its training. Nothing outside imports this package."""
