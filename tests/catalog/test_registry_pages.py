"""我的模型: who sees which models, what a version says, and its files."""

import hashlib
from io import BytesIO
from zipfile import ZipFile

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from catalog.models import BaseModel, Model, ModelFamily, ModelVersion
from catalog.models.registry import ModelVersionState
from catalog.templatetags.registry import metric
from jobs.models import Job, Run, RunState

LIST = reverse("models:list")
HTMX = {"headers": {"hx-request": "true"}}
WEIGHTS = b"not really weights"


@pytest.fixture
def base_model(db) -> BaseModel:
    family = ModelFamily.objects.create(key="toy", name="Toy", model_type="text2text")
    return BaseModel.objects.create(family=family, name="Toy-8K")


@pytest.fixture
def model(workspace) -> Model:
    return Model.objects.create(workspace=workspace, name="kefu", model_type="text2text")


@pytest.fixture
def make_version(model, base_model):
    """Returns a function that publishes a version with the given files."""

    def make(
        *names: str, state: str = ModelVersionState.READY, method: str = "LoRA", **fields
    ) -> ModelVersion:
        number = model.versions.count() + 1
        path = f"models/{model.uid}-{number}"
        for name in names:
            default_storage.save(f"{path}/{name}", ContentFile(WEIGHTS))
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        return ModelVersion.objects.create(
            model=model,
            number=number,
            state=state,
            base_model=base_model,
            method=method,
            path=path,
            size=len(names) * len(WEIGHTS),
            files=[{"name": name, "size": len(WEIGHTS), "sha256": digest} for name in names],
            **fields,
        )

    return make


def test_lists_models_with_their_newest_version(client_of, alice, make_version):
    make_version("model.safetensors")
    newest = make_version("model.safetensors", state=ModelVersionState.CREATING)
    page = client_of(alice).get(LIST)
    ((model, version),) = page.context["rows"]
    assert (version, model.version_count) == (newest, 2)
    assert "Publishing" in page.text


def test_a_model_without_versions_is_listed(client_of, alice, model):
    assert client_of(alice).get(LIST).context["rows"] == [(model, None)]


def test_filters_by_name_and_type(client_of, alice, workspace, model):
    other = Model.objects.create(workspace=workspace, name="captions", model_type="imageUnderstanding")
    client = client_of(alice)
    assert client.get(LIST, {"q": "KEFU"}).context["rows"] == [(model, None)]
    assert client.get(LIST, {"type": "imageUnderstanding"}).context["rows"] == [(other, None)]
    fragment = client.get(LIST, {"q": "nothing"}, **HTMX)
    assert "No model matches" in fragment.text
    assert "<html" not in fragment.text


def test_pages_are_for_the_workspace(client, client_of, alice, bob, charlie, model, make_version):
    version = make_version("a.json")
    urls = [
        reverse("models:detail", args=[model.uid]),
        reverse("models:version", args=[version.uid]),
    ]
    for url in urls:
        assert [client_of(person).get(url).status_code for person in (alice, bob, charlie)] == [200, 200, 404]
        assert client_of(alice).post(url).status_code == 405
        assert client.get(url).url.startswith(reverse("login"))
    assert client_of(charlie).get(LIST).context["rows"] == []


def test_model_page_leads_to_the_runs(client_of, alice, workspace, model, make_version, base_model):
    version = make_version("a.json", metrics={"eval_loss": 1.23456})
    job = Job.objects.create(workspace=workspace, name="support bot", model_type="text2text")
    run = Run.objects.create(
        job=job, version=3, base_model=base_model, method="LoRA", state=RunState.DONE, model_version=version
    )
    page = client_of(alice).get(reverse("models:detail", args=[model.uid]))
    assert reverse("jobs:run", args=[run.uid]) in page.text
    assert "support bot V3" in page.text
    assert "1.235" in page.text


def test_model_page_polls_only_while_a_version_is_published(client_of, alice, model, make_version):
    version = make_version(state=ModelVersionState.CREATING)
    client, url = client_of(alice), reverse("models:detail", args=[model.uid])
    assert 'hx-trigger="every 4s"' in client.get(url, **HTMX).text
    ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersionState.READY)
    assert "hx-trigger" not in client.get(url, **HTMX).text


@pytest.mark.parametrize(
    ("name", "loader"),
    [("adapter_config.json", "AutoPeftModelForCausalLM"), ("model.safetensors", "AutoModelForCausalLM")],
)
def test_version_page_says_how_it_is_loaded(client_of, alice, make_version, name, loader):
    version = make_version(name)
    page = client_of(alice).get(reverse("models:version", args=[version.uid]))
    assert f"import {loader} as AutoModel" in page.text
    assert default_storage.path(version.path) in page.text
    assert version.files[0]["sha256"] in page.text


def test_the_code_on_the_version_page_is_python(client_of, alice, make_version):
    page = client_of(alice).get(reverse("models:version", args=[make_version("adapter_config.json").uid]))
    code = page.text.partition('id="load-code" tabindex="0">')[2].partition("</pre>")[0]
    compile(code.replace("&quot;", '"'), "load.py", "exec")


def test_files_come_as_they_were_published(client_of, bob, make_version):
    version = make_version("sub/model.safetensors")
    answer = client_of(bob).get(reverse("models:file", args=[version.uid, "sub/model.safetensors"]))
    assert b"".join(answer.streaming_content) == WEIGHTS
    assert answer["content-disposition"] == 'attachment; filename="model.safetensors"'


def test_files_are_for_the_workspace(client, client_of, alice, charlie, make_version):
    url = reverse("models:file", args=[make_version("a.json").uid, "a.json"])
    assert client_of(charlie).get(url).status_code == 404
    assert client_of(alice).post(url).status_code == 405
    assert client.get(url).url.startswith(reverse("login"))


def test_only_files_of_a_ready_version_are_given(client_of, alice, make_version):
    version = make_version("a.json")
    default_storage.save(f"{version.path}/secret.txt", ContentFile(b"x"))
    client = client_of(alice)
    for name in ("secret.txt", "../x", "a.json/../secret.txt"):
        assert client.get(reverse("models:file", args=[version.uid, name])).status_code == 404
    ModelVersion.objects.filter(pk=version.pk).update(state=ModelVersionState.CREATING)
    assert client.get(reverse("models:file", args=[version.uid, "a.json"])).status_code == 404


def test_the_list_takes_the_same_queries_for_many_models(
    client_of, alice, workspace, base_model, django_assert_num_queries
):
    for number in range(12):
        model = Model.objects.create(workspace=workspace, name=f"m{number}", model_type="text2text")
        ModelVersion.objects.create(model=model, number=1, base_model=base_model, method="LoRA")
    client = client_of(alice)
    # session, user, memberships, number of models, models, their newest versions with base models
    with django_assert_num_queries(7):
        client.get(LIST)


def test_operators_see_models_and_change_nothing(operator, model, make_version):
    version = make_version("a.json")
    for name, pk in (("model", model.pk), ("modelversion", version.pk)):
        assert operator.get(reverse(f"admin:catalog_{name}_changelist")).status_code == 200
        change = reverse(f"admin:catalog_{name}_change", args=[pk])
        assert operator.get(change).status_code == 200
        assert operator.post(change, {"name": "other"}).status_code == 403
        assert operator.get(reverse(f"admin:catalog_{name}_add")).status_code == 403


@pytest.mark.parametrize(
    ("value", "shown"),
    [(14633.7, "14,634"), (1000, "1,000"), (5.48749, "5.487"), (3e-5, "3e-05"), (None, "–")],
)
def test_measured_numbers_read_as_numbers(value, shown):
    assert metric(value) == shown


def test_all_files_as_one_archive(client_of, alice, bob, charlie, make_version):
    version = make_version("config.json", "merged/model.safetensors")
    url = reverse("models:archive", args=[version.uid])
    response = client_of(bob).get(url)
    content = b"".join(response.streaming_content)
    assert int(response["Content-Length"]) == len(content)
    assert 'filename="kefu-V1.zip"' in response["Content-Disposition"]
    with ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == ["kefu-V1/config.json", "kefu-V1/merged/model.safetensors"]
        assert archive.read("kefu-V1/config.json") == WEIGHTS
        assert archive.testzip() is None
    assert client_of(charlie).get(url).status_code == 404
    assert client_of(alice).post(url).status_code == 405


def test_the_model_card_is_shown_without_its_head(client_of, alice, make_version):
    version = make_version()
    text = b"---\nlicense: apache-2.0\n---\n# kefu\n<script>alert(1)</script>"
    default_storage.save(f"{version.path}/README.md", ContentFile(text))
    ModelVersion.objects.filter(pk=version.pk).update(
        files=[{"name": "README.md", "size": 60, "sha256": "-"}]
    )
    page = client_of(alice).get(reverse("models:version", args=[version.uid]))
    assert page.context["card"] == "# kefu\n<script>alert(1)</script>"
    assert "<script>alert" not in page.text


def test_deleting_is_for_those_who_may_write(client_of, alice, bob, charlie, make_version, model):
    first, last = make_version("a.json"), make_version("a.json")
    url = reverse("models:delete_version", args=[first.uid])
    assert [client_of(person).post(url).status_code for person in (bob, charlie)] == [403, 404]
    assert client_of(alice).get(url).status_code == 405
    assert client_of(alice).post(url).url == reverse("models:detail", args=[model.uid])
    assert list(model.versions.all()) == [last]
    assert client_of(alice).post(reverse("models:delete", args=[model.uid])).url == LIST
    assert not Model.objects.filter(pk=model.pk).exists()


def test_a_version_that_is_being_published_stays(client_of, alice, make_version):
    version = make_version(state=ModelVersionState.CREATING)
    page = client_of(alice).post(reverse("models:delete_version", args=[version.uid]), follow=True)
    assert "is being published" in page.text
    assert ModelVersion.objects.filter(pk=version.pk).exists()
