"""The own API against its own description: whatever schemathesis makes up, no answer is a failure of the server, and
every answer is one that the description promises.

By hand with more of it: `SCHEMA_EXAMPLES=200 pytest tests/api/test_schema.py`.
"""

from __future__ import annotations

import os

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from catalog.models import Model, ModelVersion
from catalog.models.registry import ModelVersionState
from console.models import Webhook
from console.notifications import webhooks
from console.wsgi import application
from jobs.models import Metric, RunState
from tests.jobs.conftest import base_model, make_run, make_version  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.services, pytest.mark.django_db]

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "4"))
CHECKS = (
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@pytest.fixture
def schema(settings, db):
    # As Django's own client does: the connection holds the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    settings.API_READS_A_MINUTE = settings.API_WRITES_A_MINUTE = 0
    settings.ALLOWED_HOSTS = ["*"]
    yield schemathesis.openapi.from_wsgi("/api/v1/openapi.json", application)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def names(workspace, base_model, make_run, make_version) -> dict[str, str]:  # noqa: F811
    """Something that is there, by the first part of a path: what is made up is never found."""
    run = make_run(RunState.DONE, step=3)
    Metric.objects.create(run=run, key="loss", step=1, value=1.5)
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    version = ModelVersion.objects.create(
        model=model, number=1, base_model=base_model, method="LoRA", state=ModelVersionState.READY
    )
    data = make_version(3)
    hook = Webhook(workspace=workspace, name="ops", url="https://127.0.0.1/", kinds=["run.done"])
    webhooks.set_secret(hook)
    hook.save()
    return {
        "webhooks": hook.uid,
        "runs": run.uid,
        "jobs": run.job.uid,
        "models": model.uid,
        "model-versions": version.uid,
        "datasets": data.dataset.uid,
        "dataset-versions": data.uid,
        "base-models": base_model.name,
    }


def test_every_answer_is_one_that_is_described(schema, names, make_key, alice):
    headers = {"Authorization": f"Bearer {make_key(alice).token}"}
    failures = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=EXAMPLES < 50,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case):
            known = names.get(case.path.removeprefix("/api/v1/").partition("/")[0])
            # Every other one is about something that is there.
            if known and case.path_parameters and len(str(case.query) + str(case.body)) % 2 == 0:
                case.path_parameters["name" if "base-models" in case.path else "uid"] = known
            with transaction.atomic():
                response = case.call(headers=headers)
                transaction.set_rollback(True)
            case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except (Exception, BaseExceptionGroup) as error:  # each is told, not the first alone
            failures.append(f"{operation.label}: {error}")
    assert not failures, "\n\n".join(failures)
