"""Addresses of cases: ids keep their slashes, and an id that ends as an address below another case does is told apart.

`/v1/cases/x/signal` is the signal of case `x`. A case named `x/signal` is at `/v1/cases/x%2Fsignal`: the slash before
the ending is escaped, which no address below a case is.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from starlette.requests import Request

BELOW = ("signal", "page.svg", "page.png")
"""What stands behind the last slash of an address below a case."""


def case_address(case_id: str, below: str = "") -> str:
    """Path of a case, or of something below it.

    Args:
        case_id: Of the case.
        below: "/signal" ...; "" for the case itself.

    Returns:
        The path, quoted; slashes in the id stay, but for one before an ending that would mean another case's signal.

    >>> case_address("ward 3/7"), case_address("x/signal"), case_address("x/signal", "/page.svg")
    ('/v1/cases/ward%203/7', '/v1/cases/x%2Fsignal', '/v1/cases/x/signal/page.svg')
    """
    head, slash, last = case_id.rpartition("/")
    if slash and not below and last in BELOW:
        return f"/v1/cases/{quote(head)}%2F{quote(last)}"
    return f"/v1/cases/{quote(case_id)}{below}"


def case_meant(request: Request, case_id: str, ending: str, known: Container[str]) -> str | None:
    """The id of the case that an address means which looks like one below a case; None where it is one.

    Args:
        request: With the address as it was sent.
        case_id: What stands before the ending.
        ending: "signal", "page.svg".
        known: Ids that are there.

    Returns:
        The id with its ending: where the slash before the ending is escaped, or where a case of that name is there and
        none of the shorter name.
    """
    whole = f"{case_id}/{ending}"
    sent = bytes(request.scope.get("raw_path") or b"").partition(b"?")[0]
    if b"%2f" in sent.rpartition(b"/")[2].lower():
        return whole
    return whole if case_id not in known and whole in known else None
