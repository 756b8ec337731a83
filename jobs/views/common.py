"""What the pages of runs share."""

from django.http import HttpRequest


def number_of(request: HttpRequest, name: str = "after") -> int | None:
    """`?name=` as a number from 0 on; None where it is missing or none."""
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
