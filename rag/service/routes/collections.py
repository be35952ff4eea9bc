"""`/v1/collections`: make, list, show and delete collections."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from rag.service.dependencies import Admin, Reader, ServiceDep
from rag.service.errors import ErrorReply
from rag.service.library import Shelf
from rag.service.schemas import CollectionReply, NewCollection
from rag.service.settings import Name

router = APIRouter(prefix="/v1/collections", tags=["collections"])

_NONE = {"model": ErrorReply, "description": "There is no such collection."}
_TAKEN = {"model": ErrorReply, "description": "There is one of that name, or none may be made."}
_KEPT = {"model": ErrorReply, "description": "It cannot be deleted from here."}


@router.get("")
def list_collections(service: ServiceDep, caller: Reader) -> list[CollectionReply]:
    """List the collections that you may use, by name."""
    return [_reply(shelf, service) for shelf in service.library if caller.sees(shelf.name)]


@router.post("", status_code=201, responses={409: _TAKEN})
def create_collection(service: ServiceDep, caller: Admin, new: NewCollection) -> CollectionReply:
    """Make an empty collection."""
    caller.check(new.name)
    return _reply(service.library.create(new.name), service)


@router.get("/{collection}", responses={404: _NONE})
def get_collection(service: ServiceDep, caller: Reader, collection: Name) -> CollectionReply:
    """Show a collection."""
    caller.check(collection)
    return _reply(service.library[collection], service)


@router.delete("/{collection}", status_code=204, responses={404: _NONE, 409: _KEPT})
async def delete_collection(service: ServiceDep, caller: Admin, collection: Name) -> None:
    """Delete a collection and all that is in it; its jobs are cancelled."""
    caller.check(collection)
    service.library.check_deletable(collection)
    await run_in_threadpool(service.jobs.cancel_all, collection)
    await run_in_threadpool(service.library.delete, collection)


def _reply(shelf: Shelf, service: ServiceDep) -> CollectionReply:
    info = shelf.collection.info()
    writable = not service.library.read_only
    return CollectionReply(
        name=shelf.name,
        documents=info.documents,
        passages=info.passages,
        embedder=info.manifest.embedder.name,
        index=info.manifest.index,
        bytes=info.store_bytes + info.vector_bytes + info.lexical_bytes,
        writable=writable,
        deletable=writable and not shelf.outside,
        created=shelf.created,
    )
