"""What the key's owner was told, through the own API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from console.models import Receipt
from console.notifications import reading
from console.notifications.kinds import KINDS
from console.rest.answers import After, Limit, Next, answer
from console.rest.authentication import READ, ApiRequest
from console.rest.errors import CHANGING, COMMON, Error, invalid

router = Router(tags=["Notifications"])


class NotificationOut(BaseModel):
    uid: str = Field(description="msg-…; also the `webhook-id` of webhooks")
    kind: str
    title: str = Field(description="For people, in the language that is asked for")
    text: str
    path: str = Field(description="The page that it leads to")
    details: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


class NotificationPage(BaseModel):
    items: list[NotificationOut]
    next: Next
    unread: int = Field(description="Of all, up to 100")


class KindOut(BaseModel):
    kind: str
    label: str


class KindsOut(BaseModel):
    items: list[KindOut]


class ReadIn(BaseModel):
    """Which are read from now on; null is all of them."""

    model_config = ConfigDict(extra="forbid")

    uids: Annotated[list[str], Field(max_length=100)] | None = None


class ReadOut(BaseModel):
    marked: int


def _own(request: ApiRequest) -> QuerySet[Receipt]:
    return reading.receipts(request.auth.user).filter(notification__workspace=request.auth.workspace)


@router.get("/notification-kinds", auth=READ, response=COMMON | {200: KindsOut}, summary="What is told of")
def kinds(request: ApiRequest) -> HttpResponse:
    items = [KindOut(kind=kind.key, label=str(kind.label)) for kind in KINDS.values()]
    return answer(request, KindsOut(items=items))


@router.get(
    "/notifications",
    auth=READ,
    response=COMMON | {200: NotificationPage, 422: Error},
    summary="Notifications of the key's owner",
)
def notifications(
    request: ApiRequest,
    unread: Annotated[bool, Query(description="Those alone that are not read")] = False,
    kind: Annotated[str, Query(max_length=30)] = "",
    after: After = "",
    limit: Limit = 20,
) -> HttpResponse:
    """In the key's workspace, newest first."""
    found = own = _own(request)
    if unread:
        found = found.filter(read_at=None)
    if kind:
        found = found.filter(notification__kind=kind.replace("\0", ""))
    if after:
        last = (
            own.filter(notification__uid=after.replace("\0", ""))
            .values_list("notification", flat=True)
            .first()
        )
        if last is None:
            raise invalid("after", _("There is nothing of that name in this list."))
        found = found.filter(notification__lt=last)
    rows = list(found[: limit + 1])
    items = [_out(row) for row in rows[:limit]]
    page = NotificationPage(
        items=items,
        next=items[-1].uid if len(rows) > limit else None,
        unread=own.filter(read_at=None)[: reading.MOST_COUNTED].count(),
    )
    return answer(request, page)


@router.post(
    "/notifications/read", auth=READ, response=CHANGING | {200: ReadOut}, summary="Mark them as read"
)
def read(request: ApiRequest, given: ReadIn) -> HttpResponse:
    """The person's own mark, which changes nothing for others. Names that are not there are passed over."""
    found = _own(request)
    if given.uids is not None:
        found = found.filter(notification__uid__in=[uid for uid in given.uids if "\0" not in uid])
    return answer(request, ReadOut(marked=reading.mark_read(found)))


def _out(row: Receipt) -> NotificationOut:
    item = row.notification
    return NotificationOut(
        uid=item.uid,
        kind=item.kind,
        title=item.title,
        text=item.text,
        path=item.path,
        details=item.data,
        created_at=item.created_at,
        read_at=row.read_at,
    )
