"""Answers that the browser saves as a file."""

from __future__ import annotations

from typing import TypeVar

from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

ResponseType = TypeVar("ResponseType", bound=HttpResponseBase)


def as_file(response: ResponseType, name: str) -> ResponseType:
    """Names the file that the response becomes; any characters may stand in the name."""
    response["Content-Disposition"] = (
        content_disposition_header(as_attachment=True, filename=name) or "attachment"
    )
    return response
