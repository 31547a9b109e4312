"""Who may do what: bearer tokens with roles, and, where there are none, this machine alone.

Tokens are 256 random bits; settings hold their SHA-256 (a slow hash protects guessable passwords, and these cannot be
guessed). Without tokens every caller must come from the loopback interface, must have asked for a loopback name (a
foreign name that resolves to 127.0.0.1 is DNS rebinding), and must not be a web page of another origin.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from ecgkin.retrieval.errors import QueryError
from ecgkin.ui.api import docs_page, problems
from ecgkin.ui.hosts import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

Role = Literal["read", "write"]
_SETTING = re.compile(r"(read|write):([0-9a-f]{64})")
# Whoever may see nothing else may still ask whether the server lives and how it is used.
OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json", docs_page.PAGE, problems.ADDRESS})
# POST because a question can be large; nothing is kept of it but its vector.
ASKING = frozenset({"/v1/search", "/v1/drafts", "/v1/embeddings", "/v1/explanations", "/v1/digitize", "/v1/jobs"})
_OWN_JOB = re.compile(r"/v1/jobs/[^/]+(?:/cancel)?")  # who knows the id of a job has asked for it


@dataclass(frozen=True)
class Token:
    """A token as settings know it: what it allows, and its hash."""

    role: Role
    digest: str


def parse_tokens(texts: Sequence[str]) -> tuple[Token, ...]:
    """Tokens from settings.

    Raises:
        QueryError: One is not role:SHA-256.
    """
    found = []
    for number, text in enumerate(texts, 1):
        match = _SETTING.fullmatch(text.strip())
        if match is None:
            raise QueryError(
                f"token {number} of api_tokens is not of the form read:<64 hex digits> or write:<64 hex digits>",
                hint="make one with `ecgkin token read`",
            )
        found.append(Token("write" if match[1] == "write" else "read", match[2]))
    return tuple(found)


def new_token(role: Role) -> tuple[str, str]:
    """A new token and what settings keep of it.

    >>> token, setting = new_token("read")
    >>> setting == f"read:{hashed(token)}"
    True
    """
    token = f"ecgkin_{secrets.token_urlsafe(32)}"
    return token, f"{role}:{hashed(token)}"


def hashed(token: str) -> str:
    """SHA-256 of a token, in hex."""
    return hashlib.sha256(token.encode("utf-8", errors="surrogateescape")).hexdigest()


def role_of(token: str, known: Sequence[Token]) -> Role | None:
    """What a token allows, None where it is not known; takes the same time for every wrong token.

    Args:
        token: As it was sent.
        known: Tokens of the settings, by their hashes.

    Returns:
        "read", "write" or None.
    """
    digest = hashed(token)
    found: Role | None = None
    for candidate in known:  # to the end, so that time does not tell which one it was
        if hmac.compare_digest(candidate.digest, digest) and found != "write":
            found = candidate.role
    return found


def needed_role(method: str, path: str) -> Role | None:
    """What a request needs; None for what is open to all. What is not known to be harmless needs "write".

    Args:
        method: HTTP method in capitals.
        path: Without the query.

    Returns:
        "read", "write" or None.
    """
    if (path in OPEN or path.startswith(f"{docs_page.ASSETS}/")) and method in ("GET", "HEAD"):
        return None
    if method in ("POST", "DELETE") and _OWN_JOB.fullmatch(path):
        return "read"
    return "read" if method in ("GET", "HEAD") or (method == "POST" and path in ASKING) else "write"


class Guard:
    """ASGI middleware: turns away whoever may not do what he asks for, before a byte of the body is read.

    Args:
        app: What stands behind it.
        tokens: Known tokens; none: loopback only.
        origins: Origins of web pages that may call although they come from elsewhere.
        needed: (method, path) -> what a request needs.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Sequence[Token],
        origins: Sequence[str] = (),
        needed: Callable[[str, str], Role | None] = needed_role,
    ) -> None:
        self.app = app
        self._needed = needed
        self.tokens = tuple(tokens)
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            try:
                self._check(scope, headers)
            except problems.RequestError as error:
                await problems.refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        needed = self._needed(scope["method"], scope["path"])
        if self.tokens:
            if needed is None:
                return
            scheme, _, token = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise problems.UnauthorizedError("no token was sent", hint="send the header Authorization: Bearer ...")
            role = role_of(token.strip(), self.tokens)
            if role is None:
                raise problems.UnauthorizedError("the token is not known here")
            if needed == "write" and role != "write":
                raise problems.ForbiddenError("the token may read only", hint="this needs a token with the role write")
            return
        peer = scope.get("client")
        if peer is not None and not is_loopback(peer[0]):
            raise problems.ForbiddenError(
                "the server has no tokens and answers its own machine alone", hint="set api_tokens, see `ecgkin token`"
            )
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not is_loopback(host):
            raise problems.ForbiddenError(
                "the Host header names another machine", hint="ask for 127.0.0.1 or localhost"
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and urlsplit(origin).netloc != headers.get("host"):
            raise problems.ForbiddenError("web pages of other origins may not call", hint="see api_cors_origins")
