"""The log of a run: its end, which follows live; any place of it; a search through all of it; the whole file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from console.access import get_visible
from console.downloads import as_file
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets.browsing import BadPattern, Query, check_pattern, pieces
from jobs.log_search import search
from jobs.log_tail import LogPiece, host_of_log, log_path, read_around, read_before, read_log
from jobs.models import Run
from jobs.views.common import number_of

# A look takes a second (jobs/log_search.py). So many follow each other by themselves while nothing is found.
MAX_LOOKS = 60


class LogForm(forms.Form):
    """What is looked for, and the place to go to; both optional."""

    q = forms.CharField(label=gettext_lazy("Search in the log"), required=False, max_length=200, strip=False)
    regex = forms.BooleanField(label=gettext_lazy("Regular expression"), required=False)
    at = forms.CharField(
        label=gettext_lazy("Go to"),
        help_text=gettext_lazy("A share of the log such as 50%, or a byte such as 120000."),
        required=False,
        max_length=30,
    )

    def __init__(self, *args: Any, size: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.size = size

    def clean_at(self) -> int | None:
        """The byte that is asked for; None without one."""
        text = self.cleaned_data["at"].replace("\N{FULLWIDTH PERCENT SIGN}", "%").replace(",", "").strip()
        if not text:
            return None
        number, is_share = text.removesuffix("%").strip(), text.endswith("%")
        if not number.isascii() or not number.replace(".", "", int(is_share)).isdecimal():
            raise ValidationError(_("Enter a number of bytes, or a share such as 50%."))
        return min(self.size, int(self.size * float(number) / 100) if is_share else int(number))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        try:
            check_pattern(self.query())
        except BadPattern as error:
            words = _("This is no regular expression: %(reason)s") % {"reason": error}
            self.add_error("q", ValidationError(words))
        return data

    def query(self) -> Query:
        return Query(self.cleaned_data.get("q", ""), self.cleaned_data.get("regex", False))


@require_GET
@login_required
@vary_on_headers("HX-Request")
def run_log(request: HtmxHttpRequest, uid: str) -> HttpResponseBase:
    """The end of the log. `?at=` is a place (50%, or a byte), `?before=` and `?after=` what lies around a byte, `?q=`
    what to search for, from byte `?from=` on; with `?download` the whole file. htmx gets the box, with `after` what
    was added, and of a search that goes on what was found."""
    run = get_visible(Run.objects.select_related("job"), request.user, "job__workspace", uid=uid)
    path = log_path(run)
    if "download" in request.GET:
        return _whole(run, path)
    if wants_fragment(request) and "q" not in request.GET:
        return _live(request, run, path)
    form = LogForm(request.GET, size=path.stat().st_size if path.exists() else 0)
    context: dict[str, Any] = {"run": run, "form": form, "nav": "jobs"}
    if not form.is_valid():
        context |= _window(request, run, read_log(path), Query())
        return render(request, "jobs/log.html", context, status=422)
    query = form.query()
    places = {"at", "before", "after"} & set(request.GET)
    if query.text and not places:
        context |= _found(request, run, path, query)
        template = "jobs/_log_hits.html" if wants_fragment(request) else "jobs/log.html"
        return render(request, template, context)
    context |= _window(request, run, _piece_at(request, path, form.cleaned_data["at"]), query)
    return render(request, "jobs/log.html", context)


def _whole(run: Run, path: Path) -> FileResponse:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise Http404(_("This run has no log (yet).")) from None
    return as_file(FileResponse(file, content_type="text/plain; charset=utf-8"), f"{run.uid}.log")


def _live(request: HtmxHttpRequest, run: Run, path: Path) -> HttpResponse:
    """The end, or what was added to it."""
    after = number_of(request, "after")
    piece = read_log(path, after)
    if after is not None and run.is_active and not piece.text and piece.end == after:
        return HttpResponse(status=204)  # nothing new: the element asks again
    context = {"run": run, "piece": piece, "polls": run.is_active or piece.has_more}
    context["log_host"] = host_of_log(run)
    return render(request, "jobs/_log.html" if after is None else "jobs/_log_piece.html", context)


def _piece_at(request: HtmxHttpRequest, path: Path, at: int | None) -> LogPiece:
    if at is not None:
        return read_around(path, at)
    if (before := number_of(request, "before")) is not None:
        return read_before(path, before)
    return read_log(path, number_of(request, "after"))


def _window(request: HtmxHttpRequest, run: Run, piece: LogPiece, query: Query) -> dict[str, Any]:
    """Context of a piece of the log and of the ways from it."""
    text, line = piece.text, piece.line
    return {
        "piece": piece,
        # Only what ends with the file follows live.
        "polls": run.is_active and not piece.has_more,
        "parts": line and (text[: line.start], pieces(text[line], query), text[line.stop :]),
        "log_host": host_of_log(run),
        "is_end": not piece.has_more,
        "earlier": _address(request, before=piece.start) if piece.is_cut else "",
        "later": _address(request, after=piece.end) if piece.has_more else "",
    }


def _found(request: HtmxHttpRequest, run: Run, path: Path, query: Query) -> dict[str, Any]:
    """Context of what a look found and of how to look on."""
    start, looks = number_of(request, "from") or 0, number_of(request, "looks") or 0
    since = number_of(request, "since")
    found = search(path, query, start)
    return {
        "found": found,
        "hits": [(hit, _address(request, at=hit.offset) + "#here") for hit in found.hits],
        "since": start if since is None else since,
        "next": _address(request, **{"from": found.end}) if found.is_cut or run.is_active else "",
        "more": _address(
            request, **{"from": found.end, "since": start if since is None else since, "looks": looks + 1}
        ),
        # What is rare is looked for without a person who says "go on" every second.
        "goes_on": found.is_cut and not found.hits and looks < MAX_LOOKS,
    }


def _address(request: HtmxHttpRequest, **place: int) -> str:
    """The same search at another place of the log."""
    kept: dict[str, str | int] = {name: request.GET[name] for name in ("q", "regex") if request.GET.get(name)}
    return "?" + urlencode({**kept, **place})
