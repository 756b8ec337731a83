"""The own API, put together: its description, its endpoints, its errors."""

from __future__ import annotations

from ninja import NinjaAPI
from ninja.operation import Operation

from catalog.api import rest_base_models, rest_models
from console.rest import errors, members, notifications, webhooks, workspace
from datasets.api import rest_datasets, rest_versions
from jobs.api import rest_jobs, rest_resources, rest_runs

DESCRIPTION = """\
What the console can do, for programs: the same rules as its pages. Qianfan's SDK and OpenAI's client have their own
APIs beside this one.

**Keys** are made on the page “API keys” and sent as `Authorization: Bearer sk-…`. A key sees one workspace, and may do
what its scope says (read; write: also create, upload, start and stop; admin: also delete).

**Lists** come in pieces: `next` goes back as `after`. **Errors** have one shape, with the field that is to blame, in
the language of `Accept-Language` (zh-Hans or en). What is polled has an `ETag`: ask with `If-None-Match`, and an
unchanged answer is an empty 304. **Limits**: `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds) stand on every
answer where calls are limited; beyond it is 429 with `Retry-After`.
"""


class Api(NinjaAPI):
    def get_openapi_operation_id(self, operation: Operation) -> str:
        """ "runs.stop" for `stop` in rest_runs.py."""
        module = operation.view_func.__module__.rpartition(".")[2].removeprefix("rest_")
        return f"{module}.{operation.view_func.__name__}"


api = Api(
    title="Jingtiao",
    version="1",
    description=DESCRIPTION,
    urls_namespace="rest",
    # The page that shows it is our own (console/rest/docs.py).
    docs_url=None,
)
errors.add_handlers(api)
for module in (
    workspace,
    members,
    rest_resources,
    rest_base_models,
    rest_datasets,
    rest_versions,
    rest_jobs,
    rest_runs,
    rest_models,
    notifications,
    webhooks,
):
    api.add_router("", module.router)
