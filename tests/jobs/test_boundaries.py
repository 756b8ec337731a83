"""Every limit of a run at its edges, through the page and through Qianfan's API: both say the same, the page at the
field in question and with everything that was typed."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter
from datasets.models import Dataset, RowType
from jobs.models import Job, Run, RunState
from tests.api.conftest import make_key  # noqa: F401  (fixture)

CREATE = reverse("jobs:create")


class Both:
    """Asks for the same run on the page and of the API; `version` has as many rows as a test gives it."""

    def __init__(self, page, api, base_model, version, workspace) -> None:
        self.page, self.api = page, api
        self.base_model, self.version = base_model, version
        self.job = Job.objects.create(
            workspace=workspace, name="api bot", model_type="text2text", base_model=base_model
        )

    def with_rows(self, rows: int, model_type: str = "text2text") -> None:
        kinds = {"text2image": RowType.IMAGE_CAPTION, "imageUnderstanding": RowType.IMAGE_MESSAGES}
        Dataset.objects.update(row_type=kinds.get(model_type, RowType.MESSAGES))
        ModelFamily.objects.update(model_type=model_type)
        Job.objects.update(model_type=model_type)
        self.version.row_count = rows
        self.version.save()

    def on_page(self, **typed: str) -> dict[str, list[str]]:
        """The errors by field; empty where a run was started."""
        form = {
            "name": "page bot",
            "type": Job.objects.get(pk=self.job.pk).model_type,
            "base_model": self.base_model.name,
            "method": "LoRA",
            "source": self.version.uid,
            "split_ratio": "0",
        }
        answer = self.page.post(CREATE, form | typed)
        if answer.status_code == 302:
            Job.objects.filter(name="page bot").delete()
            return {}
        assert answer.status_code == 422
        for name, value in typed.items():
            assert (
                escape(value) in answer.text or name == "base_model"
            )  # a base run's is the only one to choose
        return dict(answer.context["form"].errors)

    def by_api(self, rate: float = 1, split: float = 0, **more: object) -> str:
        """The API's complaint; empty where a run was started."""
        data = {
            "sourceType": "Platform",
            "versions": [{"versionId": self.version.uid, "samplingRate": rate}],
            "splitRatio": split,
        }
        body = {"jobId": self.job.uid, "parameterScale": "LoRA", "datasetConfig": data} | more
        answer = self.api(json.dumps(body))
        if answer.status_code == 200:
            Run.objects.filter(job=self.job).delete()
            return ""
        assert answer.status_code in (400, 404)
        return answer.json()["message"]


@pytest.fixture
def both(client_of, alice, workspace, base_model, make_version, make_key):  # noqa: F811
    from qianfan.resources.auth.iam import iam_sign
    from qianfan.resources.typing import QfRequest

    made = make_key(alice)

    def api(body: str):
        query = {"Action": "CreateFineTuningTask"}
        request = QfRequest(method="POST", url="/v2/finetuning", query=query)
        request.headers = {"Content-Type": "application/json", "Host": "testserver"}
        iam_sign(made.access_key, made.secret_key, request)
        address = f"/v2/finetuning?{urlencode(query)}"
        return Client().post(address, body, content_type="application/json", headers=request.headers)

    return Both(client_of(alice), api, base_model, make_version(0), workspace)


def same(errors: dict[str, list[str]], field: str, complaint: str) -> bool:
    """Whether the page blames that field alone, and the API says what it says there."""
    return set(errors) == {field} and all(message in complaint for message in errors[field])


@pytest.mark.parametrize(
    ("model_type", "rows", "allowed"),
    [
        ("text2text", 99, False),
        ("text2text", 100, True),
        ("text2image", 9, False),
        ("text2image", 10, True),
        ("text2image", 2000, True),
        ("text2image", 2001, True),  # 2000 of them are drawn
    ],
)
def test_rows(both, model_type, rows, allowed):
    both.with_rows(rows, model_type)
    errors, complaint = both.on_page(), both.by_api()
    assert (errors, complaint) == ({}, "") if allowed else same(errors, "source", complaint)


@pytest.mark.parametrize(
    ("rate", "allowed"), [(0.009, False), (0.01, True), (10, True), (10.01, False), (-1, False)]
)
def test_sampling_rates(both, rate, allowed):
    both.with_rows(20_000)
    field = f"rate-{both.version.uid}"
    errors, complaint = both.on_page(**{field: str(rate)}), both.by_api(rate)
    assert (errors, complaint) == ({}, "") if allowed else same(errors, field, complaint)


@pytest.mark.parametrize(("split", "allowed"), [(-1, False), (0, True), (20, True), (21, False)])
def test_split_of_image_understanding(both, split, allowed):
    both.with_rows(100, "imageUnderstanding")
    errors, complaint = both.on_page(split_ratio=str(split)), both.by_api(split=split)
    assert (errors, complaint) == ({}, "") if allowed else same(errors, "split_ratio", complaint)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", "0"),
        ("epoch", "51"),
        ("epoch", "1.5"),
        ("epoch", "1,000"),
        ("epoch", "五"),
        ("epoch", "9" * 400),
        ("epoch", "9" * 5000),  # more digits than Python turns into a number
        ("epoch", ""),
        ("learningRate", "nan"),
        ("learningRate", "Infinity"),
        ("learningRate", "1e400"),
        ("learningRate", "1_0"),
        ("learningRate", "0.0000009"),
        ("learningRate", "[0.0001]"),
    ],
)
def test_hyperparameters(both, key, value):
    both.with_rows(100)
    errors = both.on_page(**{f"hp-{key}": value})
    assert same(errors, f"hp-{key}", both.by_api(hyperParameterConfig={key: value}))


def test_full_width_digits_are_numbers(both):
    both.with_rows(100)
    assert both.on_page(**{"hp-epoch": "３"}) == {}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "[3]", "{}", "null", "true", "9" * 400])
def test_what_only_json_can_say(both, value):
    both.with_rows(100)
    body = {
        "jobId": both.job.uid,
        "parameterScale": "LoRA",
        "hyperParameterConfig": {"epoch": "VALUE"},
        "datasetConfig": {"versions": [{"versionId": both.version.uid}]},
    }
    answer = both.api(json.dumps(body).replace('"VALUE"', value))
    assert answer.status_code == 400 and answer.json()["message"]
    assert not Run.objects.exists()


def test_unknown_keys(both):
    both.with_rows(100)
    assert "nonsense" in both.by_api(hyperParameterConfig={"nonsense": 1})
    assert both.on_page(**{"hp-nonsense": "1", "nonsense": "2"}) == {}  # fields of nothing


def test_the_last_learning_rate_lies_below_the_first(both):
    both.with_rows(100)
    offer = Offer.objects.get()
    for order, (key, default) in enumerate((("schedulerName", "polynomial"), ("lrEnd", 1e-7))):
        OfferedHyperparameter.objects.create(
            offer=offer,
            key=key,
            order=10 + order,
            default=default,
            choices=["linear", "polynomial"] if key == "schedulerName" else None,
            minimum=None if key == "schedulerName" else 0,
            maximum=None if key == "schedulerName" else 1,
        )
    for end, allowed in (("0.00029", True), ("0.0003", False), ("0.1", False)):
        values = {"schedulerName": "polynomial", "learningRate": "0.0003", "lrEnd": end}
        errors = both.on_page(**{f"hp-{key}": value for key, value in values.items()})
        complaint = both.by_api(hyperParameterConfig=values)
        assert (errors, complaint) == ({}, "") if allowed else same(errors, "hp-lrEnd", complaint)


@pytest.mark.parametrize(
    ("days", "method", "allowed"),
    [(29, "FullFineTuning", True), (32, "FullFineTuning", False), (1, "LoRA", False)],
)
def test_base_runs(both, make_run, days, method, allowed):
    both.with_rows(100)
    base = make_run(RunState.DONE, method=method, finished_at=timezone.now() - timedelta(days=days))
    errors = both.on_page(incremental="on", base_run=base.uid, base_step="result")
    complaint = both.by_api(incrementTaskId=base.uid)
    assert (errors, complaint) == ({}, "") if allowed else same(errors, "base_run", complaint)


def test_a_base_run_keeps_its_base_model(both, make_run):
    both.with_rows(100)
    base = make_run(RunState.DONE, method="FullFineTuning", finished_at=timezone.now())
    other = BaseModel.objects.create(
        family=both.base_model.family, name="Toy-32K", weights_kind="directory", weights_location="/nowhere"
    )
    Offer.objects.create(base_model=other, method="LoRA")
    Job.objects.filter(pk=both.job.pk).update(base_model=other)
    errors = both.on_page(incremental="on", base_run=base.uid, base_step="result", base_model=other.name)
    assert same(errors, "base_model", both.by_api(incrementTaskId=base.uid))


@pytest.mark.parametrize(
    ("text", "characters"),
    # What the page counts as somebody types is the same: code points, and one for a line end.
    [("🙂", 1), ("好", 1), ("\r\n", 1), ("👩\u200d💻", 3), ("e\u0301", 2)],
)
def test_descriptions(both, text, characters):
    both.with_rows(100)
    fits = text * ((500 - 2) // characters)
    fits = "a" + fits + "a" * (499 - len(fits.replace("\r\n", "\n")))
    assert len(fits.replace("\r\n", "\n")) == 500
    assert both.on_page(description=fits) == {}
    assert set(both.on_page(description=fits[:-1] + "aa")) == {"description"}


@pytest.mark.parametrize("field", ["source", "test_source", "base_run", "corpus"])
def test_what_belongs_to_others_is_as_good_as_not_there(both, field, charlie, make_version, make_run):
    both.with_rows(100)
    elsewhere = charlie.workspaces.get()
    foreign = make_version(120, name="foreign", workspace=elsewhere).uid
    if field == "base_run":
        run = make_run(RunState.DONE, method="FullFineTuning", finished_at=timezone.now())
        Job.objects.filter(pk=run.job_id).update(workspace=elsewhere)
        foreign = run.uid
    switches = {"base_run": {"incremental": "on"}, "corpus": {"with_corpus": "on"}}
    errors = (
        both.page.post(
            CREATE,
            {
                "name": "page bot",
                "base_model": both.base_model.name,
                "method": "LoRA",
                "source": both.version.uid,
                field: foreign,
                **switches.get(field, {}),
            },
        )
        .context["form"]
        .errors
    )
    assert field in errors
    assert "foreign" not in str(errors)


def test_a_form_without_the_token_is_refused(client_of, alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(CREATE, {"name": "bot"}).status_code == 403
    assert not Job.objects.exists()
