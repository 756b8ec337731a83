"""Sends what is to be sent, at least once, whatever is killed meanwhile.

A row (Mail, Delivery) is the truth and a Celery message only a wake-up: it carries the number of attempts that it
knows of, and takes the next one only if the row still has that number. Of two messages one finds it changed and does
nothing. After an attempt that failed Celery sends the message again by itself, later each time; a message that was
lost, or whose worker died, beat sends again once its time has passed (`due`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from celery.utils.time import get_exponential_backoff_interval
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from console.notifications.models import Outgoing, State

logger = logging.getLogger(__name__)
Row = TypeVar("Row", bound=Outgoing)

# 1, 2, 4, … 128 minutes, then every 4 hours: about a day in all (see also CELERY_BROKER_TRANSPORT_OPTIONS).
FIRST_PAUSE, LONGEST_PAUSE, RETRIES = 60, 4 * 3600, 13
# An attempt that takes longer is taken for dead; beat waits for so much more before it does what Celery should.
ATTEMPT_TIME = timedelta(seconds=60)
GRACE = timedelta(seconds=60)
# Rows that one round of beat wakes workers for at most.
AT_ONCE = 500

# Why an attempt failed. What the other side says itself stands in the params.
PROBLEMS: dict[str, str | Promise] = {
    "refused_by_server": _("The server refused it: %(answer)s"),
    "unreachable": _("The server cannot be reached: %(reason)s"),
    "too_slow": _("The server did not answer in time."),
    "status": _("The server answered with status %(status)s."),
    "redirected": _("The server answered with a redirect, which is not followed."),
    "gone": _("The server answered with status 410: it wants no more."),
    "inner_address": _("The address leads into the network of this console, which it does not call."),
    "no_server": _("There is no server of the name that the address has."),
    "not_allowed": _(
        "The address is not called: it has to begin with https:// and to lead to the public internet, unless an "
        "operator allows it (setting ALLOWED_PRIVATE_ENDPOINTS)."
    ),
    "secret_unreadable": _(
        "The secret cannot be read any more, because SECRET_KEY was changed. Make a new one."
    ),
    "no_reader": _("The person has no e-mail address any more, or has left the workspace."),
    "switched_off": _("The webhook was switched off."),
    "unexpected": _("It stopped unexpectedly. The log of the worker says why."),
}


class Undelivered(Exception):
    """An attempt that failed; `code` is one of PROBLEMS. A lasting problem is not tried again."""

    def __init__(self, code: str, is_lasting: bool = False, **params: Any) -> None:
        super().__init__(code)
        self.code, self.is_lasting, self.params = code, is_lasting, params


# For the tasks that call `attempt`.
AGAIN: dict[str, Any] = {
    "autoretry_for": (Undelivered,),
    "retry_backoff": FIRST_PAUSE,
    "retry_backoff_max": LONGEST_PAUSE,
    # Without chance in it the page can say when it is tried again.
    "retry_jitter": False,
    "max_retries": RETRIES,
    # What beat sends expires soon; what follows from it must not.
    "retry_kwargs": {"expires": None},
}


def problem_text(problem: dict[str, Any] | None) -> str:
    """Why the last attempt failed, in the language in force; empty where none did."""
    if not problem:
        return ""
    text = PROBLEMS.get(problem.get("code", ""), PROBLEMS["unexpected"])
    return str(text) % problem.get("params", {})


def attempt(rows: type[Row], pk: int, number: int, send: Callable[[Row], None]) -> None:
    """Makes attempt `number` (from 0) if the row waits for exactly that one. `send` may change the row, and raises
    Undelivered; what it raises is passed on while another attempt is to follow, for Celery to send the message again.
    """
    claimed = rows.objects.filter(pk=pk, state=State.WAITING, attempts=number)  # type: ignore[attr-defined]
    if not claimed.update(attempts=F("attempts") + 1, due_at=timezone.now() + ATTEMPT_TIME):
        return
    row: Row = rows.objects.get(pk=pk)  # type: ignore[attr-defined]
    problem = _problem(row, send)
    row.problem = {"code": problem.code, "params": problem.params} if problem else None
    is_over = problem is None or problem.is_lasting or number >= RETRIES
    if is_over:
        row.state = State.FAILED if problem else State.SENT
        row.due_at, row.ended_at = None, timezone.now()
    else:
        row.due_at = timezone.now() + pause_after(number)
    with transaction.atomic():
        # Unless it took so long that another one has begun, or somebody asked for it to be sent anew.
        if _is_ours(rows, pk, number + 1):
            row.save()
    if problem and not is_over:
        raise problem


def _is_ours(rows: type[Outgoing], pk: int, attempts: int) -> bool:
    """Locks a row, and says whether nobody has begun another attempt."""
    own = rows.objects.select_for_update().filter(pk=pk, state=State.WAITING, attempts=attempts)  # type: ignore[attr-defined]
    return own.first() is not None


def _problem(row: Row, send: Callable[[Row], None]) -> Undelivered | None:
    try:
        send(row)
    except Undelivered as problem:
        return problem
    except Exception:
        logger.exception("%s %s could not be sent", row._meta.model_name, row.pk)
        return Undelivered("unexpected")
    return None


def pause_after(number: int) -> timedelta:
    """How long Celery waits after a failed attempt (counted from 0), by its own reckoning."""
    seconds = get_exponential_backoff_interval(
        factor=FIRST_PAUSE, retries=number, maximum=LONGEST_PAUSE, full_jitter=False
    )
    return timedelta(seconds=seconds)


def due(rows: type[Outgoing]) -> Iterator[tuple[int, int]]:
    """Key and number of attempts of what should have been sent by now, and was not."""
    late = rows.objects.filter(state=State.WAITING, due_at__lt=timezone.now() - GRACE)  # type: ignore[attr-defined]
    yield from late.order_by("due_at").values_list("pk", "attempts")[:AT_ONCE]


def again(row: Outgoing) -> bool:
    """Has something that is over sent once more, with all the attempts that a new one has; False while it waits."""
    rows = type(row).objects.filter(pk=row.pk).exclude(state=State.WAITING)  # type: ignore[attr-defined]
    changed = rows.update(state=State.WAITING, attempts=0, problem=None, due_at=timezone.now(), ended_at=None)
    return bool(changed)
