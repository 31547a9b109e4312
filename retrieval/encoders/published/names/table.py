"""Which tensor of a published checkpoint is which of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Names of the tensors of one kind of checkpoint.

    Attributes:
        table: Own module path -> path in the file; `{s}` and the like stand for a number on both sides.
        ignored: Patterns of names that may be in the file and are not read.
    """

    table: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    def original(self, own: str) -> str:
        """Name in the file of one of our tensors.

        >>> Names({"stages.{s}.norm": "layer{s}.bn1"}).original("stages.2.norm.weight")
        'layer2.bn1.weight'
        """
        best = ""
        for template in self.table:
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", re.escape(template))
            found = re.match(rf"{pattern}(?=\.|$)", own)
            if found and len(template) > len(best):
                best, rest, numbers = template, own[found.end() :], found.groupdict()
        if not best:
            raise KeyError(f"no original name for {own}")
        return self.table[best].format(**numbers) + rest

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor of the file may be left unread."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)
