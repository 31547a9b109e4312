"""The HTTP API: what it answers and takes, what a server holds, limits, tokens, and its routes."""
