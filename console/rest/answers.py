"""What endpoints share: finding what is named, pages of lists, and the answer itself."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import xxhash
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import gettext as _
from ninja import Query
from pydantic import BaseModel, Field

from console.access import get_visible
from console.api.keys import Caller
from console.rest.authentication import READING
from console.rest.errors import invalid

M = TypeVar("M", bound=Model)

MOST = 100
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most")]
After = Annotated[str, Query(max_length=100, description="`next` of the page before; empty for the first")]
Next = Annotated[
    str | None, Field(description="Goes back as `after` for what follows; null at the end of the list")
]


def answer(request: HttpRequest, body: BaseModel, status: int = 200) -> HttpResponse:
    """The body as JSON. What is read comes with an ETag, and as a mere 304 where the caller has it already."""
    content = body.model_dump_json()
    response = HttpResponse(content, content_type="application/json", status=status)
    if request.method not in READING:
        return response
    response["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ("Authorization", "Accept-Language", "Cookie"))
    etag = f'"{xxhash.xxh3_64_hexdigest(content.encode())}"'
    response["ETag"] = etag
    if "If-None-Match" in request.headers:
        return get_conditional_response(request, etag=etag, response=response) or response
    return response


def nothing() -> HttpResponse:
    """Done, and nothing to tell."""
    return HttpResponse(status=204)


def find(queryset: QuerySet[M], caller: Caller, path: str = "workspace", **lookup: Any) -> M:
    """One object of the caller's workspace; `path` leads from the model to it. Raises Http404."""
    # PostgreSQL cannot be asked for a text with NUL.
    if any("\0" in value for value in lookup.values() if isinstance(value, str)):
        lookup = {"pk": None}
    return get_visible(queryset.filter(**{path: caller.workspace}), caller.user, path, **lookup)


def cut(queryset: QuerySet[M], after: str, limit: int) -> tuple[list[M], str | None]:
    """A piece of a list of objects that have a `uid`, newest first, behind the one named `after`; and the cursor of
    the next piece. Raises Rejected."""
    queryset = queryset.order_by("-pk")
    if after:
        last = queryset.filter(uid=after.replace("\0", "")).values_list("pk", flat=True).first()
        if last is None:
            raise invalid("after", _("There is nothing of that name in this list."))
        queryset = queryset.filter(pk__lt=last)
    found = list(queryset[: limit + 1])
    shown: Any = found[:limit]
    return shown, shown[-1].uid if len(found) > limit else None
