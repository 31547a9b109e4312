"""The HTTP API: `create_app` in `app`, everything else behind it."""
