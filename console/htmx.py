"""Page or fragment, decided in one place."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from console.models import User


class HtmxHttpRequest(HttpRequest):
    """A request of a signed-in person (`login_required`) that went through HtmxMiddleware."""

    htmx: HtmxDetails
    user: User


def wants_fragment(request: HtmxHttpRequest) -> bool:
    """True where only the swapped part is asked for: by htmx, not boosted, not a history restore."""
    return bool(request.htmx) and not request.htmx.boosted and not request.htmx.history_restore_request
