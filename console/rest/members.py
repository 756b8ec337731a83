"""The people of a key's workspace: who is in it; owners add, change and remove."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse
from ninja import Router
from pydantic import BaseModel, ConfigDict, Field

from console import members
from console.models import Membership, Role
from console.rest.answers import answer, find, nothing
from console.rest.authentication import ADMIN, READ, ApiRequest
from console.rest.errors import CHANGING, COMMON, Rejected, conflict, invalid

router = Router(tags=["Workspace"])


class Member(BaseModel):
    username: str
    name: str
    role: str
    joined_at: datetime | None = Field(description="null where it was not kept yet")
    last_signed_in_at: datetime | None


class Members(BaseModel):
    items: list[Member]


class RoleIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Role = Field(description="owner, member or viewer")


class MemberIn(RoleIn):
    person: str = Field(max_length=254, description="User name or e-mail address, exactly as in the account")


def _out(item: Membership) -> Member:
    return Member(
        username=item.user.username,
        name=item.user.get_full_name(),
        role=item.role,
        joined_at=item.joined_at,
        last_signed_in_at=item.user.last_login,
    )


def _rejected(refusal: members.MembersRefused) -> Rejected:
    if isinstance(refusal, members.TooManyLookups):
        return Rejected(HTTPStatus.TOO_MANY_REQUESTS, str(refusal))
    return invalid("person", refusal) if refusal.field == "person" else conflict(refusal)


def _find(request: ApiRequest, username: str) -> Membership:
    people: Any = Membership.objects.select_related("user", "workspace")
    return find(people, request.auth, user__username=username)


@router.get("/workspace/members", auth=READ, response=COMMON | {200: Members}, summary="Its members")
def listed(request: ApiRequest) -> HttpResponse:
    found = members.of_workspace(request.auth.workspace)
    return answer(request, Members(items=[_out(item) for item in found]))


@router.post("/workspace/members", auth=ADMIN, response=CHANGING | {201: Member}, summary="Add a person")
def add(request: ApiRequest, body: MemberIn) -> HttpResponse:
    """For owners. The account must be there already."""
    caller = request.auth
    try:
        added = members.add(caller.workspace, caller.user, body.person, body.role)
    except members.MembersRefused as refusal:
        raise _rejected(refusal) from refusal
    return answer(request, _out(added), HTTPStatus.CREATED)


@router.patch(
    "/workspace/members/{username}", auth=ADMIN, response=CHANGING | {200: Member}, summary="Change a role"
)
def change(request: ApiRequest, username: str, body: RoleIn) -> HttpResponse:
    """For owners. The last one stays an owner."""
    membership = _find(request, username)
    try:
        members.change_role(membership, request.auth.user, body.role)
    except members.MembersRefused as refusal:
        raise _rejected(refusal) from refusal
    return answer(request, _out(_find(request, username)))


@router.delete(
    "/workspace/members/{username}", auth=ADMIN, response=CHANGING | {204: None}, summary="Remove a person"
)
def remove(request: ApiRequest, username: str) -> HttpResponse:
    """For owners, and for the key's own person, who leaves. Their keys for this workspace are revoked; what they made
    stays, and their runs go on."""
    try:
        members.remove(_find(request, username), request.auth.user)
    except members.MembersRefused as refusal:
        raise _rejected(refusal) from refusal
    return nothing()
