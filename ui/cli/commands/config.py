"""`ecgkin config show`."""

from __future__ import annotations

import typer

from ecgkin.ui import console
from ecgkin.ui.cli.commands import common


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Settings.")
    group.command("show")(show)
    app.add_typer(group, name="config")


def show(json: common.Json = False) -> None:
    """Print every setting: its value, where that came from, and what it means."""
    from ecgkin.ui.settings import CONFIG_FILE, PREFIX, load_settings, origins, user_folder

    settings = load_settings()
    came_from = origins(settings)
    fields = {
        name: {"value": getattr(settings, name), "from": came_from[name], "meaning": field.description or ""}
        for name, field in type(settings).model_fields.items()
    }
    if json:
        console.emit(fields)
        return
    rows = [(name, "" if f["value"] is None else f["value"], f["from"], f["meaning"]) for name, f in fields.items()]
    console.table("", ("setting", "value", "from", "meaning"), rows)
    console.say(f"Set {PREFIX}NAME in the environment, or name = value in {user_folder() / CONFIG_FILE}.")
