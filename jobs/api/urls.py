"""Addresses of the APIs for programs. They begin at the root of the host, where Qianfan's SDK looks for them."""

from django.urls import path

from catalog.api import models as registry
from console.api import qianfan
from datasets.api import v1 as datasets_v1
from datasets.api import v2 as datasets_v2
from jobs.api import finetuning, models

V1 = "wenxinworkshop"

urlpatterns = [
    path("v2/finetuning", qianfan.v2(finetuning.ACTIONS)),
    path("v2/dataset", qianfan.v2(datasets_v2.ACTIONS)),
    path("v2/model", qianfan.v2(registry.ACTIONS | models.V2_ACTIONS)),
    *(path(f"{V1}/dataset/{name}", qianfan.v1_data(action)) for name, action in datasets_v1.ACTIONS.items()),
    *(
        path(f"{V1}/modelrepo/{name}", qianfan.v1(action))
        for name, action in (registry.V1_ACTIONS | models.V1_ACTIONS).items()
    ),
]
