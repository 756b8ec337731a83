"""Addresses of the APIs for programs. They begin at the root of the host, where Qianfan's SDK looks for them."""

from django.urls import path

from catalog.api import chat, openai_models
from catalog.api import models as registry
from console.api import openai, qianfan
from datasets.api import files, v1_content
from datasets.api import v1 as datasets_v1
from datasets.api import v2 as datasets_v2
from jobs.api import finetuning, models, openai_jobs

V1 = "wenxinworkshop"
JOBS = "v1/fine_tuning/jobs"

urlpatterns = [
    # Qianfan
    path("v2/finetuning", qianfan.v2(finetuning.ACTIONS)),
    path("v2/dataset", qianfan.v2(datasets_v2.ACTIONS)),
    path("v2/model", qianfan.v2(registry.ACTIONS | models.V2_ACTIONS)),
    *(
        path(f"{V1}/dataset/{name}", qianfan.v1_data(action))
        for name, action in (datasets_v1.ACTIONS | v1_content.DATASET_ACTIONS).items()
    ),
    *(
        path(f"{V1}/entity/{name}", qianfan.v1_data(action))
        for name, action in v1_content.ENTITY_ACTIONS.items()
    ),
    path(f"{V1}/content/<str:token>", v1_content.content, name="qianfan_rows"),
    *(
        path(f"{V1}/modelrepo/{name}", qianfan.v1(action))
        for name, action in (registry.V1_ACTIONS | models.V1_ACTIONS).items()
    ),
    # What is not offered, in the words of the SDK.
    path("v2/<path:rest>", qianfan.v2({})),
    path(f"{V1}/<path:rest>", qianfan.v1(qianfan.Action(qianfan.unknown, qianfan.Nothing))),
    # OpenAI
    path("v1/models", openai.view(**openai_models.MODELS)),
    path("v1/models/<path:model>", openai.view(**openai_models.ONE_MODEL)),
    path("v1/chat/completions", openai.view(**chat.COMPLETIONS)),
    path("v1/files", openai.view(**files.FILES)),
    path("v1/files/<str:file>", openai.view(**files.ONE_FILE)),
    path("v1/files/<str:file>/content", openai.view(**files.CONTENT)),
    path(JOBS, openai.view(**openai_jobs.JOBS)),
    path(f"{JOBS}/<str:job>", openai.view(**openai_jobs.ONE_JOB)),
    path(f"{JOBS}/<str:job>/cancel", openai.view(**openai_jobs.CANCEL)),
    path(f"{JOBS}/<str:job>/pause", openai.view(**openai_jobs.PAUSE)),
    path(f"{JOBS}/<str:job>/resume", openai.view(**openai_jobs.RESUME)),
    path(f"{JOBS}/<str:job>/events", openai.view(**openai_jobs.EVENTS)),
    path(f"{JOBS}/<str:job>/checkpoints", openai.view(**openai_jobs.CHECKPOINTS)),
    path(
        "v1/<path:rest>",
        openai.view(**dict.fromkeys(("get", "post", "delete"), openai.Endpoint(openai.unknown))),
    ),
]
