"""Every limit of a run at its edges, through the page, Qianfan's API and the own API, and through OpenAI's where it has
a word for it: all say the same, the page at the field in question and with everything that was typed."""

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
from jobs.api.rest_configuration import ConfigurationIn
from jobs.models import Job, Run, RunState
from tests.api.conftest import make_key  # noqa: F401  (fixture)

CREATE = reverse("jobs:create")


class Both:
    """Asks for the same run on the page and of the APIs; `version` has as many rows as a test gives it. What is asked
    for on the page is asked of the own API as well, which must say the same."""

    def __init__(self, page, api, token, base_model, version, workspace) -> None:
        self.page, self.api, self.token = page, api, token
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
        said_elsewhere = self.by_rest(form | typed)
        answer = self.page.post(CREATE, form | typed)
        errors = {} if answer.status_code == 302 else dict(answer.context["form"].errors)
        assert said_elsewhere == sorted(message for messages in errors.values() for message in messages)
        if answer.status_code == 302:
            Job.objects.filter(name="page bot").delete()
            return {}
        assert answer.status_code == 422
        for name, value in typed.items():
            assert (
                escape(value) in answer.text or name == "base_model"
            )  # a base run's is the only one to choose
        return errors

    def by_rest(self, typed: dict[str, str]) -> list[str]:
        """What the own API has against the same configuration, in order; empty where a run was started."""
        given: dict[str, object] = {"sources": [{"version": self.version.uid}], "hyperparameters": {}}
        for name, text in typed.items():
            if name.startswith("rate-"):
                given["sources"][0]["sampling_rate"] = float(text)
            elif name.startswith("hp-") and name != "hp-nonsense":
                given["hyperparameters"][name.removeprefix("hp-")] = text
            elif name in ConfigurationIn.model_fields:
                given[name] = float(text) if name == "split_ratio" else text == "on" or text
        answer = self.ask("/api/v1/jobs", given)
        if answer.status_code == 201:
            Job.objects.filter(name="page bot").delete()
            return []
        assert answer.status_code == 422
        return sorted(field["message"] for field in answer.json()["error"]["fields"])

    def by_openai(self, **more: object) -> str:
        """The complaint of OpenAI's API; empty where a run was started."""
        body = {"model": self.base_model.name, "training_file": self.version.uid} | more
        answer = self.ask("/v1/fine_tuning/jobs", body)
        if answer.status_code == 200:
            Job.objects.exclude(pk=self.job.pk).delete()
            return ""
        assert answer.status_code == 400
        return answer.json()["error"]["message"]

    def ask(self, address: str, body: object):
        headers = {"Authorization": f"Bearer {self.token}"}
        return Client().post(address, json.dumps(body), content_type="application/json", headers=headers)

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

    return Both(client_of(alice), api, made.token, base_model, make_version(0), workspace)


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
    errors = both.on_page()
    for complaint in (both.by_api(), both.by_openai()):
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
    for complaint in (
        both.by_api(hyperParameterConfig={key: value}),
        both.by_openai(hyperparameters={key: value}),
    ):
        assert same(errors, f"hp-{key}", complaint)


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
