"""`/v1/collections/{collection}/documents`: upload, list, show and delete documents."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from rag.core.documents import Document
from rag.core.errors import InputError
from rag.indexes import DocumentInfo
from rag.pipelines.encoded_passages import drop_removed
from rag.service.dependencies import Reader, ServiceDep, Writer
from rag.service.errors import ApiError, ErrorReply
from rag.service.library import Shelf
from rag.service.places import shown_uri
from rag.service.schemas import DocumentPage, DocumentReply, DocumentText, JobReply
from rag.service.settings import Name
from rag.service.uploads import FIELD

router = APIRouter(prefix="/v1/collections/{collection}", tags=["documents"])

_DELETING = ThreadPoolExecutor(4, "rag-delete")
"""They wait while a batch is indexed, which must not take the threads of other requests."""

_NO_COLLECTION = {"model": ErrorReply, "description": "There is no such collection."}
_NO_DOCUMENT = {"model": ErrorReply, "description": "There is no such collection or document."}
_READ_ONLY = {"model": ErrorReply, "description": "The service is read-only."}

_UPLOAD: dict[int | str, dict[str, Any]] = {
    404: _NO_COLLECTION,
    409: _READ_ONLY,
    413: {"model": ErrorReply, "description": "The upload is too large, or has too many files."},
    415: {"model": ErrorReply, "description": "The body is no multipart form."},
    422: {"model": ErrorReply, "description": "The form is malformed, or no file can be taken."},
    429: {"model": ErrorReply, "description": "Too many jobs wait."},
    507: {"model": ErrorReply, "description": "Too many uploads wait, or the disk is full."},
}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "additionalProperties": False,
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "The files; each becomes a document named like it.",
                        }
                    },
                },
                "example": {FIELD: ["Expenses are paid within 30 days.\n"]},
            }
        },
    }
}

DocumentId = Annotated[
    str, Query(min_length=1, description="The document's id.", examples=["travel/expenses.md"])
]


@router.post(
    "/documents",
    status_code=202,
    responses=_UPLOAD,
    openapi_extra=_FORM,
    max_body_size=sys.maxsize,  # uploads count for themselves, to say which limit it was
)
async def upload_documents(
    service: ServiceDep, caller: Writer, collection: Name, request: Request
) -> JobReply:
    """Add documents from files, or replace those of the same names.

    Once the reply is there, the files are kept; a job in the background indexes them. Files that
    cannot be taken are listed in it with the reason.
    """
    caller.check(collection)
    name = service.library[collection].name
    service.library.check_writable()
    await run_in_threadpool(service.jobs.check_room)
    upload = await service.uploads.receive(request)
    return await run_in_threadpool(service.jobs.submit_upload, name, upload)


@router.get("/documents", responses={404: _NO_COLLECTION})
def list_documents(
    service: ServiceDep,
    caller: Reader,
    collection: Name,
    limit: Annotated[int, Query(ge=1, le=1000, description="Documents at most.")] = 100,
    after: Annotated[
        int, Query(ge=0, le=2**63 - 1, description="The `next` of the page before.")
    ] = 0,
) -> DocumentPage:
    """List the documents of a collection, in the order in which they were added."""
    caller.check(collection)
    page, following = service.library[collection].collection.document_page(limit, after)
    return DocumentPage(
        documents=tuple(DocumentReply(**_shown(each)) for each in page),
        next=None if following is None else str(following),
    )


@router.get("/document", responses={404: _NO_DOCUMENT})
def get_document(
    service: ServiceDep,
    caller: Reader,
    collection: Name,
    id: DocumentId,  # noqa: A002 - the name of the parameter in the API
) -> DocumentText:
    """Show a document with its text."""
    caller.check(collection)
    shelf = service.library[collection]
    try:
        return DocumentText(**_shown(shelf.collection.document(id)))
    except InputError as error:
        raise _not_found() from error


@router.delete("/document", status_code=204, responses={404: _NO_DOCUMENT, 409: _READ_ONLY})
async def delete_document(
    service: ServiceDep,
    caller: Writer,
    collection: Name,
    id: DocumentId,  # noqa: A002
) -> None:
    """Delete a document; no search that begins after the reply finds it.

    In a collection that follows a folder it is read again from its file, if that is still there,
    when the service starts.
    """
    caller.check(collection)
    shelf = service.library[collection]
    service.library.check_writable()
    await asyncio.get_running_loop().run_in_executor(_DELETING, _delete, shelf, id)


def _shown(document: Document | DocumentInfo) -> dict[str, Any]:
    return asdict(document) | {"uri": shown_uri(document.uri)}


def _delete(shelf: Shelf, document_id: str) -> None:
    if not shelf.collection.remove([document_id]):
        raise _not_found()
    drop_removed(shelf.collection)


def _not_found() -> ApiError:
    return ApiError(
        404, "document_not_found", "the collection has no document of that id", param="query.id"
    )
