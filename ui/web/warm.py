"""Streamlit with all that the page needs loaded before it listens: the first visitor does not wait for imports."""

from __future__ import annotations

import importlib
import sys
from pkgutil import walk_packages

# What the panels import inside their functions, and what Streamlit itself loads with the first widget of a kind.
NEEDED = (
    "PIL.Image",
    "cv2",
    "ecgkin.retrieval.ecg.drawing.raster",
    "ecgkin.retrieval.ecg.page.reading",
    "ecgkin.retrieval.ecg.formats.read",
    "ecgkin.retrieval.ecg.statements.catalogue",
    "ecgkin.retrieval.ecg.drawing.svg",
    "ecgkin.ui.api.uploads",
    "ecgkin.ui.client.client",
    "fpdf",
    "pandas",
    "pyarrow",
    "streamlit.runtime.scriptrunner",
)


def main() -> None:
    """Load everything, then do as `streamlit` does with the words after this module's name."""
    import ecgkin.ui.web as page

    for name in (*NEEDED, *(found.name for found in walk_packages(page.__path__, f"{page.__name__}."))):
        importlib.import_module(name)
    from streamlit.web import cli

    sys.argv[0] = "streamlit"
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
