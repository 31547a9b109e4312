"""Blue/green alias: a name that means one case base now and another one after a switch, with nobody finding none.

In folders the name is a symbolic link; on Milvus it is an alias. Bases that are open stay the ones that they were
(`open_base` follows a name once); who opens the name after the switch gets the new base.
"""

from __future__ import annotations

import os
from pathlib import Path

from ecgkin.index import is_milvus, open_base
from ecgkin.index.atomic import sync_folder
from ecgkin.index.folder.store import STORE
from ecgkin.index.milvus.address import MilvusAddress
from ecgkin.retrieval.errors import CaseBaseError, QueryError, why


def meant_by(name: str | Path) -> str:
    """What a name means at this moment: the path of a folder, or a collection.

    Raises:
        CaseBaseError: It means nothing.
    """
    if is_milvus(name):
        from ecgkin.index.milvus.table import connect, target_of

        address = MilvusAddress.parse(name)
        client = connect(address)
        try:
            collection = target_of(client, address)
        finally:
            client.close()
        if collection is None:
            raise CaseBaseError(f"{name} does not exist")
        return collection
    if not Path(name).exists():
        raise CaseBaseError(f"{name} does not exist")
    return str(Path(name).resolve())


def state_of(name: str | Path) -> str:
    """What a name means and which files those are: another text when a folder was replaced by another of its name.

    Raises:
        CaseBaseError: It means nothing.
    """
    meaning = meant_by(name)
    if is_milvus(name):
        return meaning
    try:
        status = (Path(meaning) / STORE).stat()
    except OSError:
        return meaning
    return f"{meaning} {status.st_dev}:{status.st_ino}"


def switch(name: str | Path, target: str | Path) -> None:
    """Let a name mean another base from now on, in one step.

    Args:
        name: A link (made where nothing is) or a name on the same Milvus server.
        target: A base that is complete.

    Raises:
        CaseBaseError: The target is no base, or the name is a folder itself.
        QueryError: One is a folder and the other is not, or they are on different servers.
    """
    with open_base(target):
        pass
    if is_milvus(name) != is_milvus(target):
        raise QueryError(f"{name} and {target} are not of one kind (expected two folders, or two on one server)")
    if is_milvus(name):
        _alter_alias(MilvusAddress.parse(name), MilvusAddress.parse(target))
        return
    link, folder = Path(name), Path(target).resolve()
    if link.exists() and not link.is_symlink():
        raise CaseBaseError(
            f"{name} is a folder itself (expected a link)",
            hint=f"rename it while nothing has it open, then: ecgkin base switch {name} FOLDER",
        )
    beside = link.with_name(f".{link.name}.{os.getpid()}.link")
    try:
        beside.unlink(missing_ok=True)
        beside.symlink_to(os.path.relpath(folder, link.parent.resolve()))
        os.replace(beside, link)
        sync_folder(link.parent)
    except OSError as error:
        raise CaseBaseError(f"{name} cannot be switched: {why(error)}") from error


def _alter_alias(name: MilvusAddress, target: MilvusAddress) -> None:
    from ecgkin.index.milvus.table import connect, milvus_errors, target_of

    if name.uri != target.uri:
        raise QueryError(f"{name} and {target} are on different servers")
    client = connect(name)
    try:
        collection = target_of(client, target)
        now = target_of(client, name)
        with milvus_errors(name):
            if now is None:
                client.create_alias(collection, name.collection)
            elif now == name.collection:
                raise CaseBaseError(f"{name} is a collection itself (expected an alias)", hint="choose another name")
            else:
                client.alter_alias(collection, name.collection)
    finally:
        client.close()
