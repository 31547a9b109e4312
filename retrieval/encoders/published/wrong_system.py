"""Whose checkpoint is it? Told by tensors that only one system has."""

from __future__ import annotations

from collections.abc import Iterable

from ecgkin.retrieval.encoders.published.checkpoint import Checkpoint
from ecgkin.retrieval.encoders.published.names import d_beta, ecgfounder, merl, more
from ecgkin.retrieval.errors import ModelError

SIGNATURES: dict[str, tuple[tuple[str, ...], ...]] = {
    "merl": (merl.SIGNATURE, merl.RESNET_BACKBONE_SIGNATURE, merl.VIT_BACKBONE_SIGNATURE),
    "d-beta": (d_beta.SIGNATURE,),
    "ecgfounder": (ecgfounder.SIGNATURE,),
    "more": (more.SIGNATURE,),
}
_TITLES = {"merl": merl.SYSTEM, "d-beta": d_beta.SYSTEM, "ecgfounder": ecgfounder.SYSTEM, "more": more.SYSTEM}
_SHOWN = 3


def system_of(tensor_names: Iterable[str]) -> str | None:
    """The system whose checkpoint has these tensors ("merl", "d-beta", "ecgfounder", "more"), None if it is none."""
    have = set(tensor_names)
    for system, signatures in SIGNATURES.items():
        if any(have.issuperset(signature) for signature in signatures):
            return system
    return None


def check_system(checkpoint: Checkpoint, system: str) -> None:
    """Refuse another system's checkpoint, and one that is none at all.

    Args:
        checkpoint: Of the user.
        system: Key of the system it should be.

    Raises:
        ModelError: Says whose it is, or which tensors were looked for and which were found.
    """
    found = system_of(checkpoint.tensors)
    if found == system:
        return
    title = _TITLES[system]
    if found is not None:
        raise ModelError(
            f"{checkpoint.path.name} is a checkpoint of {_TITLES[found]} (expected {title})",
            hint=f"open it as {found}:{checkpoint.path}",
        )
    lost = [name for name in SIGNATURES[system][0] if name not in checkpoint.tensors]
    have = list(checkpoint.tensors)
    raise ModelError(
        f"{checkpoint.path.name} does not fit {title}: misses {', '.join(lost)}; found {', '.join(have[:_SHOWN])}"
        + (f" and {len(have) - _SHOWN} more" if len(have) > _SHOWN else ""),
        hint="a damaged or renamed file, or one of another system",
    )
