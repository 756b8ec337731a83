"""Addresses of the APIs for programs. They begin at the root of the host, where Qianfan's SDK looks for them."""

from django.urls import path

from console.api import qianfan
from jobs.api import finetuning

urlpatterns = [
    path("v2/finetuning", qianfan.v2(finetuning.ACTIONS)),
]
