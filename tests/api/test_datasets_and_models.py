"""Qianfan's dataset and model APIs through the SDK, and the deletion behind them."""

from __future__ import annotations

import pytest
import qianfan.errors
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from qianfan.resources.console import consts
from qianfan.resources.console.data import Data
from qianfan.resources.console.finetune import FineTune
from qianfan.resources.console.model import Model as ModelApi
from qianfan.resources.console.utils import call_action

from catalog.models import Model, ModelVersion
from console import deletion
from console.models import Deletion
from datasets.models import DatasetVersion, RowType
from jobs import launch
from jobs.models import Publication, RunSource, RunState
from tests.jobs.conftest import base_model, make_run, make_version  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
V2 = consts.V2


@pytest.fixture
def signed_in(qianfan_as, make_key, alice):
    qianfan_as(make_key(alice))


def refused(call, *args, **kwargs):
    with pytest.raises(qianfan.errors.RequestError) as caught:
        call(*args, **kwargs)
    return caught.value.status_code


def test_a_dataset_from_creation_to_deletion(signed_in):
    made = Data.V2.create_dataset(
        "chats", V2.DatasetFormat.DPOPromptChosenRejected, V2.StorageType.SysStorage
    )["result"]
    assert (made["versionNumber"], made["dataFormat"]) == (1, "DPO_PromptChosenRejected")
    assert DatasetVersion.objects.get().dataset.row_type == RowType.PREFERENCE
    second = Data.V2.create_dataset_version(made["datasetId"])["result"]
    listed = Data.V2.get_dataset_version_list(made["datasetId"])["result"]["versionList"]
    assert [version["versionId"] for version in listed] == [second["versionId"], made["versionId"]]
    assert Data.V2.get_dataset_list()["result"]["datasetList"][0]["datasetName"] == "chats"
    assert Data.V2.get_dataset_version_info(made["versionId"])["result"]["importStatus"] == "Created"
    assert refused(Data.V2.publish_dataset_version, made["versionId"]) == 409
    assert Data.V2.delete_dataset_version(second["versionId"])["result"] is True
    assert Data.V2.delete_dataset(made["datasetId"])["result"] is True
    assert refused(Data.V2.get_dataset_version_info, made["versionId"]) == 404


def test_a_version_is_released_and_its_state_told_in_the_sdks_codes(signed_in, make_version):  # noqa: F811
    version = make_version(3, state="draft")
    info = Data.get_dataset_info(version.uid)["result"]["versionInfo"]
    assert (info["releaseStatus"], info["importStatus"], info["templateType"]) == (0, 2, 2000)
    assert Data.release_dataset(version.uid)["result"] is True
    assert Data.get_dataset_info(version.uid)["result"]["versionInfo"]["releaseStatus"] == 2
    assert Data.release_dataset(version.uid)["result"] is True


def test_v1_errors_are_raised_by_the_sdk(signed_in, qianfan_as, make_key, charlie, make_version):  # noqa: F811
    with pytest.raises(qianfan.errors.QianfanError, match="NoSuchObject"):
        Data.get_dataset_info("ds-000000000000")
    with pytest.raises(qianfan.errors.APIError, match="no model version"):
        ModelApi.detail("amv-000000000000")
    version = make_version()
    qianfan_as(make_key(charlie))
    with pytest.raises(qianfan.errors.QianfanError):
        Data.get_dataset_info(version.uid)


def test_a_version_that_a_run_trains_on_stays(signed_in, make_version, make_run):  # noqa: F811
    version = make_version()
    RunSource.objects.create(run=make_run(RunState.DONE), version=version)
    assert refused(Data.V2.delete_dataset_version, version.uid) == 409
    assert DatasetVersion.objects.exists() and not Deletion.objects.exists()


def test_the_files_of_a_deleted_version_go_once(signed_in, make_version):  # noqa: F811
    version = make_version()
    Data.V2.delete_dataset_version(version.uid)
    (waiting,) = deletion.waiting()
    assert default_storage.exists(version.rows_path)
    deletion.remove_files(waiting)
    assert not default_storage.exists(version.rows_path)
    assert not default_storage.exists(f"datasets/{version.uid}")
    deletion.remove_files(waiting)
    assert deletion.waiting() == []
    assert Deletion.objects.get().data["rows"] == 120


@pytest.fixture
def finished_run(make_run):  # noqa: F811
    run = make_run(RunState.DONE, step=8)
    output = launch.run_directory(run) / "output"
    output.mkdir(parents=True)
    (output / "adapter_model.safetensors").write_bytes(b"weights")
    return run


def publish(run, **kwargs):
    meta = {"taskId": run.job.uid, "iterationId": run.uid}
    return ModelApi.publish(**{"is_new": True, "model_name": "m_abc", "version_meta": meta} | kwargs)[
        "result"
    ]


def test_a_finished_run_is_published_once(signed_in, finished_run):
    made = publish(finished_run)
    sets = ModelApi.V2.describe_model_set(model_set_id=made["modelIDStr"])["result"]
    assert sets["modelIds"] == [made["versionIdStr"]]
    detail = ModelApi.detail(made["versionIdStr"])["result"]
    assert detail["state"] == "Creating"
    assert detail["sourceExtra"]["trainSourceExtra"]["taskId"] == finished_run.uid
    with pytest.raises(qianfan.errors.APIError, match="published already"):
        publish(finished_run, model_name="m_def")
    finished_run.refresh_from_db()
    assert finished_run.publication == Publication.PENDING
    assert finished_run.timeline.filter(kind="publish_requested").exists()


@pytest.mark.parametrize("name", ["_a", "a", "with space", "taken"])
def test_a_name_that_no_model_may_have(signed_in, finished_run, workspace, name):
    Model.objects.create(workspace=workspace, name="taken", model_type="text2text")
    with pytest.raises(qianfan.errors.APIError):
        publish(finished_run, model_name=name)
    assert not ModelVersion.objects.exists()


def test_the_next_version_of_a_model(signed_in, finished_run, workspace):
    model = Model.objects.create(workspace=workspace, name="m_abc", model_type="text2text", next_version=4)
    made = publish(finished_run, is_new=False, model_id=model.pk)
    assert (made["modelIDStr"], made["version"]) == (model.uid, "4")


def test_a_run_that_is_not_done_is_not_published(signed_in, make_run):  # noqa: F811
    with pytest.raises(qianfan.errors.APIError, match="Only a run"):
        publish(make_run(RunState.FAILED))


def test_models_are_listed_and_deleted(signed_in, workspace, base_model):  # noqa: F811
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    version = ModelVersion.objects.create(
        model=model, number=1, base_model=base_model, method="LoRA", state="Creating"
    )
    default_storage.save(f"models/{version.uid}/a.safetensors", ContentFile(b"x"))
    listed = ModelApi.V2.describe_custom_model_sets()["result"]["customModelSetList"]
    assert [item["modelSetName"] for item in listed] == ["bot"]
    assert ModelApi.V2.describe_model_set(model_set_name="bot")["result"]["modelSetId"] == model.uid
    assert refused(ModelApi.V2.delete_model, version.uid) == 409
    ModelVersion.objects.update(state="Ready")
    assert ModelApi.V2.delete_model(version.uid)["result"] is True
    assert not Model.objects.exists()
    deletion.remove_files(Deletion.objects.get(kind="model version").pk)
    assert not default_storage.exists(f"models/{version.uid}/a.safetensors")


def test_a_model_is_made_before_its_first_version(signed_in, finished_run):
    made = ModelApi.V2.create_custom_model_set("empty-bot", "Text2Text")["result"]
    assert ModelApi.V2.describe_model_set(model_set_id=made)["result"]["modelIds"] == []
    for name, kind in (("empty-bot", "Text2Text"), ("other", "TextRepresentation")):
        with pytest.raises(qianfan.errors.RequestError):
            ModelApi.V2.create_custom_model_set(name, kind)


def test_calls_that_are_not_offered_are_refused_in_the_sdks_words(signed_in):
    with pytest.raises(qianfan.errors.APIError) as caught:
        FineTune.get_job(1, 2)
    assert caught.value.error_code == 3
    with pytest.raises(qianfan.errors.RequestError) as refused:
        call_action("/v2/service", "CreateService", {})
    assert refused.value.headers["X-Bce-Error-Code"] == "InvalidAction"


def test_a_chinese_message_stands_in_the_body_and_not_in_a_header(signed_in, alice):
    """Header values are ASCII: it would arrive as question marks."""
    alice.language = "zh-hans"
    alice.save()
    with pytest.raises(qianfan.errors.RequestError) as refused:
        ModelApi.V2.create_custom_model_set("_bad", "Text2Text")
    assert "X-Bce-Error-Message" not in refused.value.headers
    assert "字母" in str(refused.value)
