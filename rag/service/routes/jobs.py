"""`/v1/jobs`: see and cancel work in the background."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from rag.service.access import Caller
from rag.service.dependencies import Reader, ServiceDep, Writer
from rag.service.errors import ApiError, ErrorReply
from rag.service.schemas import JobReply, JobState
from rag.service.service import Service
from rag.service.settings import Name

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_NO_JOB = {"model": ErrorReply, "description": "There is no such job."}

JobId = Annotated[str, Path(max_length=64, description="The job's id.")]


@router.get("")
def list_jobs(
    service: ServiceDep,
    caller: Reader,
    collection: Annotated[Name | None, Query(description="Only those of a collection.")] = None,
    state: Annotated[JobState | None, Query(description="Only those in a state.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Jobs at most.")] = 100,
) -> list[JobReply]:
    """List the jobs of the collections that you may use, the latest first."""
    jobs = service.jobs.list(collection=collection, states=[state] if state else [])
    return [each for each in jobs if caller.sees(each.collection)][:limit]


@router.get("/{job}", responses={404: _NO_JOB})
def get_job(service: ServiceDep, caller: Reader, job: JobId) -> JobReply:
    """Show a job: how far it is, or what was done."""
    return _visible(service, caller, job)


@router.delete("/{job}", responses={404: _NO_JOB})
def cancel_job(service: ServiceDep, caller: Writer, job: JobId) -> JobReply:
    """Cancel a job: one that waits never starts, one that runs stops soon.

    What it has committed stays; a job that has ended stays as it is.
    """
    return service.jobs.cancel(_visible(service, caller, job).id) or _visible(service, caller, job)


def _visible(service: Service, caller: Caller, job: str) -> JobReply:
    found = service.jobs.get(job)
    if found is None or not caller.sees(found.collection):
        raise ApiError(404, "job_not_found", "there is no such job", param="path.job")
    return found
