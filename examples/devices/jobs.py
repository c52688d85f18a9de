"""The routes of jobs: each person sees the own ones."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select

from jetio import Jetio, not_found
from jetio_auth import CurrentUser, SessionDep

from .models import Job


def add_job_routes(app: Jetio, prefix: str = "/jobs") -> None:
    """Create, list and read jobs."""

    @app.post(f"{prefix}/", tags=["jobs"])
    async def create_job(name: str, user: CurrentUser, session: SessionDep) -> dict[str, str]:
        """Create a job for the caller."""
        job = Job(name=name, user_id=user.id)
        session.add(job)
        await session.commit()
        await session.refresh(job)
        return {"id": str(job.id), "name": job.name, "status": job.status}

    @app.get(f"{prefix}/", tags=["jobs"])
    async def list_jobs(user: CurrentUser, session: SessionDep) -> list[dict[str, str]]:
        """The caller's jobs."""
        jobs = await session.scalars(select(Job).where(Job.user_id == user.id))
        return [{"id": str(job.id), "name": job.name, "status": job.status} for job in jobs]

    @app.get(f"{prefix}/{{job_id}}", tags=["jobs"])
    async def get_job(job_id: UUID, user: CurrentUser, session: SessionDep) -> dict[str, str]:
        """One of the caller's jobs."""
        job = await session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user.id))
        if job is None:
            raise not_found("Job not found")
        return {"id": str(job.id), "name": job.name, "status": job.status}
