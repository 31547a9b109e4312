"""The API as a server: `create_app` puts it together, `serving` runs it."""
