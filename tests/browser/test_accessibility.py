"""axe-core finds nothing serious on any page, light or dark."""

from __future__ import annotations

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from playwright.sync_api import Page, expect

from catalog.loading import load_data_files
from catalog.models import BaseModel, Model, ModelVersion, WeightsKind
from console.models import Delivery, User, Webhook, Workspace
from console.notifications import webhooks
from console.notifications.recording import record
from datasets.imports import run_import
from datasets.models import Connection, Dataset, DatasetVersion, VersionState
from datasets.repairs import key_of
from jobs import lifecycle
from jobs.models import Checkpoint, Draft, Job, Metric, Run, RunSource, RunState
from tests.rows import chats, store_rows

SERIOUS = ("serious", "critical")


@pytest.fixture
def console(alice: User, workspace: Workspace) -> dict[str, str]:
    """A console in use. Returns the addresses of its pages by name."""
    load_data_files()
    base_model = BaseModel.objects.get(name="ERNIE-Speed-8K")
    base_model.weights_kind, base_model.weights_location = WeightsKind.DIRECTORY, "/nowhere/ernie"
    base_model.save()
    version = published(workspace)
    job = Job.objects.create(workspace=workspace, name="bot", model_type="text2text", created_by=alice)
    done, running = (make_run(job, base_model, version, state) for state in (RunState.DONE, RunState.RUNNING))
    Run.objects.filter(pk=running.pk).update(base_run=done)
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    trained = ModelVersion.objects.create(model=model, number=1, base_model=base_model, method="LoRA")
    Draft.objects.create(user=alice, workspace=workspace, fields={"name": ["half a bot"]})
    return {
        "sign in": "/login/",
        "wizard": f"/sft/new/?base_model={base_model.name}&method=LoRA&source={version.uid}",
        "new run": f"/sft/{job.uid}/new/",
        "jobs": "/sft/",
        "job": f"/sft/{job.uid}/",
        "run": f"/sft/runs/{done.uid}/",
        "running": f"/sft/runs/{running.uid}/",
        "compare": f"/sft/compare/?run={done.uid}&run={running.uid}",
        "datasets": "/datasets/",
        "new dataset": "/datasets/new/",
        "dataset": f"/datasets/{version.dataset.uid}/",
        "dataset version": f"/datasets/versions/{version.uid}/",
        "models": "/models/",
        "model": f"/models/{model.uid}/",
        "model version": f"/models/versions/{trained.uid}/",
        "base models": "/base-models/",
        "base model": f"/base-models/{base_model.name}/",
        "preferences": "/preferences/",
        "API keys": "/api-keys/",
        "try it out": f"/base-models/{base_model.name}/chat/",
        **tell(workspace, alice, done),
    }


def tell(workspace: Workspace, alice: User, run: Run) -> dict[str, str]:
    """A notification, and a webhook that it did not reach; the addresses of their pages."""
    hook = Webhook(workspace=workspace, name="ops", url="https://example.com/hook", kinds=["run.failed"])
    webhooks.set_secret(hook)
    hook.save()
    data = {"uid": run.uid, "run": str(run), "failure": {"code": "disk_full", "params": {}, "message": ""}}
    record("run.failed", workspace.pk, run.uid, data, alice.pk)
    log = [
        {"at": timezone.now().isoformat(), "status": 500, "answer": "no", "seconds": 0.1, "code": "status"}
    ]
    Delivery.objects.update(state="Failed", attempts=1, log=log, due_at=None)
    return {
        "notifications": "/notifications/",
        "channels": "/notifications/settings/",
        "webhooks": "/webhooks/",
        "webhook": f"/webhooks/{hook.uid}/",
    }


def published(workspace: Workspace) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=workspace, name="chats")
    version = DatasetVersion.objects.create(
        dataset=dataset, number=1, state=VersionState.PUBLISHED, row_count=2, turn_count=2, character_count=40
    )
    version.rows_path = store_rows(f"datasets/{version.uid}/rows.parquet", chats(2))
    version.save()
    return version


def make_run(job: Job, base_model: BaseModel, version: DatasetVersion, state: str) -> Run:
    run = Run.objects.create(
        job=job,
        version=job.runs.count() + 1,
        base_model=base_model,
        method="LoRA",
        state=state,
        hyperparameters={"epoch": job.runs.count() + 1, "learningRate": 3e-4},
        created_by=job.created_by,
        started_at=timezone.now(),
        step=2,
        total_steps=4,
    )
    RunSource.objects.create(run=run, version=version)
    for step in (1, 2):
        Metric.objects.create(run=run, key="loss", step=step, value=3 / step)
    Checkpoint.objects.create(run=run, step=2, path="c", size=10, created_at=timezone.now())
    lifecycle.note(run, "submitted", actor=job.created_by)
    return run


@pytest.fixture
def dataset_pages(alice: User, workspace: Workspace) -> dict[str, str]:
    """A version with an error, a warning and figures, another one to compare it with; the addresses of its pages."""
    other = published(workspace)
    version = DatasetVersion.objects.create(dataset=other.dataset, number=2, state=VersionState.IMPORTING)
    rows = [
        {"prompt": "call 13812345678", "response": "ok"},
        {"prompt": "你好" * 400, "response": "Hi"},
        {"prompt": ""},
    ]
    content = ContentFile("\n".join(json.dumps([row]) for row in rows))
    path = default_storage.save("a.jsonl", content)
    version.files.create(name="a.jsonl", path=path, size=content.size)
    run_import(version.pk)
    version.refresh_from_db()
    bucket = Connection.objects.create(workspace=workspace, name="Bucket", endpoint="https://s3.example.org")
    pages = f"/datasets/versions/{version.uid}"
    return {
        "overview": f"{pages}/",
        "rows": f"{pages}/rows/?q=call",
        "mistake": f"{pages}/rows/?q=(&regex=on",
        "statistics": f"{pages}/statistics/",
        "lineage": f"{pages}/lineage/",
        "compare": f"/datasets/{version.dataset.uid}/compare/?version={other.uid}&version={version.uid}",
        "export": f"{pages}/export/",
        "edit row": f"{pages}/rows/1/edit/",
        "problems": f"{pages}/problems/",
        "mend": f"{pages}/problems/{key_of(version.problems[0])}/",
        "connections": "/datasets/connections/",
        "connection": f"/datasets/connections/{bucket.uid}/",
    }


def violations(page: Page) -> list[str]:
    """What axe calls serious or critical, and headings out of order, with the place and the reason."""
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']} ({item['impact']}) at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for item in found
        if item["impact"] in SERIOUS or item["id"] == "heading-order"
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_shuts_anybody_out(open_page, alice, console, scheme):
    page = open_page(alice, color_scheme=scheme)
    stranger = open_page(color_scheme=scheme)
    found = {}
    for name, address in console.items():
        visitor = stranger if name == "sign in" else page
        visitor.goto(address)
        visitor.evaluate(
            "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
        )
        if problems := violations(visitor):
            found[name] = problems
    assert not found, "\n".join(f"{name}: {line}" for name, lines in found.items() for line in lines)


def test_a_form_with_errors_and_its_messages(open_page, alice, console):
    page = open_page(alice)
    page.goto("/sft/new/?method=LoRA")
    page.locator("#id_hp-epoch").fill("999")
    page.locator("#start").click()
    page.locator(".form-errors").wait_for()
    assert not violations(page)


def test_a_phone(open_page, alice, console):
    page = open_page(alice, width=390)
    for name in ("wizard", "jobs", "job", "run", "compare", "notifications", "webhook"):
        page.goto(console[name])
        assert not violations(page), name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_pages_of_a_dataset_version(open_page, alice, dataset_pages, scheme, width):
    page = open_page(alice, color_scheme=scheme, width=width)
    found = []
    for name, address in dataset_pages.items():
        assert page.goto(address).status == 200, name
        page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
        found += [f"{name}: {line}" for line in violations(page)]
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            found.append(f"{name} is wider than the window")
    assert not found, "\n".join(found)


def test_a_mistake_in_the_filter_is_tied_to_its_field(open_page, alice, dataset_pages):
    page = open_page(alice)
    page.goto(dataset_pages["rows"])
    field = page.get_by_role("searchbox").and_(page.locator("#id_q"))
    page.get_by_label("Regular expression").check()
    field.fill("(")
    field.press("Enter")
    page.locator("#id_q_error").wait_for()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_attribute("aria-describedby", "id_q_error")
    field.fill("call")
    field.press("Enter")
    page.locator("mark").first.wait_for()
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_axe_would_tell(open_page, alice, console):
    """A check of the check: a control without a name is found."""
    page = open_page(alice)
    page.goto("/sft/")
    page.evaluate("document.querySelector('main').append(document.createElement('select'))")
    assert any(line.startswith("select-name") for line in violations(page))
