"""How many calls a key may make: so many a minute that read, so many that change something, for all APIs together.

Counted in Redis, one key a minute and caller, in one transaction that also says when it goes. A window is a minute
of the clock, so that around its end twice as many are let through; for keeping one script from starving the others
that is exact enough. Without Redis everybody is let through: limits protect the console from busy scripts, and a
console that answers nobody because it cannot count is worse than a busy one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import lru_cache

import redis
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

logger = logging.getLogger(__name__)
WINDOW_SECONDS = 60
# A request does not wait longer for its count than that; after a failure none is asked for for a while.
TIMEOUT_SECONDS = 0.25
PAUSE_SECONDS = 5
_paused_until = 0.0


@dataclass(frozen=True)
class Count:
    """What a caller has used of its limit; `reset` is in seconds from now."""

    limit: int
    used: int
    reset: int

    @property
    def is_exceeded(self) -> bool:
        return self.used > self.limit

    @property
    def headers(self) -> dict[str, str]:
        told = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Reset": str(self.reset),
        }
        return told | {"Retry-After": str(self.reset)} if self.is_exceeded else told


def count_call(caller: str, *, writes: bool) -> Count | None:
    """Counts one call of `caller` ("key-12"); None where there is no limit, or nobody who counts."""
    limit = settings.API_WRITES_A_MINUTE if writes else settings.API_READS_A_MINUTE
    return count(f"calls:{caller}:{'write' if writes else 'read'}", limit)


def count(what: str, limit: int) -> Count | None:
    """Counts one more of something that may happen `limit` times a minute (0: any number)."""
    if limit == 0 or time.monotonic() < _paused_until:
        return None
    now = time.time()
    window = int(now // WINDOW_SECONDS)
    name = f"{what}:{window}"
    try:
        with _client(settings.REDIS_URL).pipeline(transaction=True) as pipe:
            pipe.incr(name)
            pipe.expire(name, 2 * WINDOW_SECONDS, nx=True)
            used: int = pipe.execute()[0]
    except redis.RedisError as error:
        _pause(error)
        return None
    return Count(limit, used, max(1, round((window + 1) * WINDOW_SECONDS - now)))


def _pause(error: Exception) -> None:
    """Asks nobody for a while: a server that does not answer would hold up every call by its timeout."""
    global _paused_until
    _paused_until = time.monotonic() + PAUSE_SECONDS
    logger.warning("Calls are not counted for %d seconds: %s", PAUSE_SECONDS, error)


def exceeded(count: Count) -> str:
    """What a caller is told who made too many calls."""
    return _("Too many calls: %(limit)d a minute are allowed. Try again in %(seconds)d seconds.") % {
        "limit": count.limit,
        "seconds": count.reset,
    }


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    """One pool of connections a process."""
    return redis.Redis.from_url(url, socket_connect_timeout=TIMEOUT_SECONDS, socket_timeout=TIMEOUT_SECONDS)


def add_headers(response: HttpResponseBase, request: HttpRequest) -> None:
    """Tells the caller of a request how much is left, where its call was counted (`rate_count`)."""
    count: Count | None = getattr(request, "rate_count", None)
    for name, value in count.headers.items() if count else ():
        response[name] = value
