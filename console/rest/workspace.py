"""The workspace that a key belongs to: its name and its limits."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from console.rest.answers import answer
from console.rest.authentication import READ, ApiRequest
from console.rest.errors import COMMON
from jobs.limits import standings

router = Router(tags=["Workspace"])


class WorkspaceOut(BaseModel):
    name: str
    role: str = Field(description="What the key's owner is here: owner, member or viewer")
    scope: str = Field(description="What the key may do at most: read, write or admin")
    user: str
    created_at: datetime


class StandingOut(BaseModel):
    """Limits and how far they are used; null is without limit."""

    running: int | None = Field(description="Runs that train now; null where nothing is limited")
    most_running: int | None
    device_hours: float | None = Field(description="Used this month (UTC); null where nothing is limited")
    most_device_hours: int | None
    next_month: datetime | None
    waits_because: str | None = Field(description="Why no further run would start now")


@router.get("/workspace", auth=READ, response=COMMON | {200: WorkspaceOut}, summary="The key's workspace")
def workspace(request: ApiRequest) -> HttpResponse:
    caller = request.auth
    found = WorkspaceOut(
        name=caller.workspace.name,
        role=caller.role,
        scope=caller.key.scope,
        user=caller.user.username,
        created_at=caller.workspace.created_at,
    )
    return answer(request, found)


@router.get(
    "/workspace/standing", auth=READ, response=COMMON | {200: StandingOut}, summary="Limits and their use"
)
def standing(request: ApiRequest) -> HttpResponse:
    key = request.auth.workspace.pk
    found = standings([key]).get(key)
    return answer(
        request,
        StandingOut(
            running=found.running if found else None,
            most_running=found.most_running if found else None,
            device_hours=round(found.hours, 4) if found else None,
            most_device_hours=found.most_hours if found else None,
            next_month=found.next_month if found else None,
            waits_because=(found.reason or None) if found else None,
        ),
    )
