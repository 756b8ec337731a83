"""Page or fragment, decided in one place; polls that need no answer."""

from django.http import HttpRequest, HttpResponse
from django_htmx.middleware import HtmxDetails

from console.models import User


class HtmxHttpRequest(HttpRequest):
    """A request of a signed-in person (`login_required`) that went through HtmxMiddleware."""

    htmx: HtmxDetails
    user: User


def wants_fragment(request: HtmxHttpRequest) -> bool:
    """True where only the swapped part is asked for: by htmx, not boosted, not a history restore."""
    return bool(request.htmx) and not request.htmx.boosted and not request.htmx.history_restore_request


def nothing_new(request: HttpRequest, seen: str) -> HttpResponse | None:
    """204, on which htmx leaves the page as it is, for a poll that brings the word which the page has seen (in
    `hx-headers='{"x-seen": …}'`); None where there is news."""
    return HttpResponse(status=204) if request.headers.get("X-Seen") == seen else None
