"""What routes depend on."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from rag.service.access import Caller, access
from rag.service.admission import admitted
from rag.service.service import Service


async def _service(request: Request) -> Service:  # else it would wait for a thread
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(_service)]
"""The parts of the service."""

Reader = Annotated[Caller, Depends(access("read"))]
"""A caller that may search and ask."""

Writer = Annotated[Caller, Depends(access("write"))]
"""A caller that may add and delete documents."""

Admin = Annotated[Caller, Depends(access("admin"))]
"""A caller that may make and delete collections, and see what others did."""

Admitted = Annotated[None, Depends(admitted)]
"""A place among the requests that are worked on; routes name it after their caller."""
