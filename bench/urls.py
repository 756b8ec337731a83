"""The console's addresses and a bare view: what Django itself costs, through the same middleware."""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from console.urls import urlpatterns as console_urls


def bare(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("bare/", bare), *console_urls]
