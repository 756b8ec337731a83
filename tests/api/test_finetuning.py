"""`/v2/finetuning` through the official SDK, without a worker: create, look, stop, delete, and what is refused."""

from __future__ import annotations

import json

import pytest
import qianfan.errors
import requests
from qianfan.resources.console.finetune import FineTune

from catalog.models import ModelFamily, Offer
from datasets.models import Dataset, RowType
from jobs.models import Job, Run, RunState
from tests.jobs.conftest import base_model, make_run, make_version  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
api = FineTune.V2


@pytest.fixture
def signed_in(qianfan_as, make_key, alice):
    qianfan_as(make_key(alice))


def data(*versions, **more):
    listed = [{"versionId": version.uid} for version in versions]
    return {"sourceType": "Platform", "versions": listed, "splitRatio": 20} | more


@pytest.fixture
def create(base_model, make_version):  # noqa: F811
    """Returns a function that creates a task in a new job of the given name."""
    version = make_version()

    def go(name="support bot", hyper_params=None, **more):
        job = api.create_job(name=name, model="Toy-8K", train_mode="SFT")["result"]["jobId"]
        arguments = {
            "job_id": job,
            "params_scale": "LoRA",
            "hyper_params": {"epoch": 2} if hyper_params is None else hyper_params,
            "dataset_config": data(version),
        } | more
        return api.create_task(**arguments)["result"]

    return go


def refused(call, *args, **kwargs):
    """Status of the refusal; the SDK only logs code and message."""
    with pytest.raises(qianfan.errors.RequestError) as caught:
        call(*args, **kwargs)
    return caught.value.status_code


def test_a_job_and_its_task_from_creation_to_deletion(signed_in, create, alice):
    made = create()
    run = Run.objects.get(uid=made["taskId"])
    assert (run.job.uid, run.created_by, run.hyperparameters["epoch"]) == (made["jobId"], alice, 2)
    assert run.hyperparameters["learningRate"] == 3e-4
    detail = api.task_detail(run.uid)["result"]
    assert (detail["runStatus"], detail["model"], detail["jobName"]) == ("Waiting", "Toy-8K", "support bot")
    assert detail["finishDate"] == "0000-00-00T00:00:00Z"
    assert refused(api.delete_task, run.uid) == 409
    assert api.stop_task(run.uid)["result"] is True
    assert api.stop_task(run.uid)["result"] is True
    assert api.task_detail(run.uid)["result"]["runStatus"] == "Stopped"
    assert api.delete_task(run.uid)["result"] is True
    assert refused(api.task_detail, run.uid) == 404
    assert api.delete_job(made["jobId"])["result"] is True
    assert not Job.objects.exists()


def test_lists_come_in_pieces(signed_in, create):
    for number in range(3):
        create(name=f"job {number}")
    first = api.job_list(max_keys=2)["result"]
    assert [job["name"] for job in first["jobList"]] == ["job 2", "job 1"]
    rest = api.job_list(marker=first["pageInfo"]["nextMarker"])["result"]
    assert [job["name"] for job in rest["jobList"]] == ["job 0"]
    assert "nextMarker" not in rest["pageInfo"]
    assert api.job_list(page_reverse=True)["result"]["jobList"][0]["name"] == "job 0"
    assert api.job_list(train_model="DPO")["result"]["jobList"] == []
    assert len(api.job_list(train_model="SFT", model="Toy-8K")["result"]["jobList"]) == 3
    tasks = api.task_list(rest["jobList"][0]["jobId"])["result"]["taskList"]
    assert [task["runStatus"] for task in tasks] == ["Waiting"]


def test_jobs_in_the_modes_that_the_model_is_offered_in(signed_in, base_model, make_version):  # noqa: F811
    assert refused(api.create_job, name="pairs", model="Toy-8K", train_mode="DPO") == 400
    Offer.objects.create(base_model=base_model, method="DPO-LoRA")
    job = api.create_job(name="pairs", model="Toy-8K", train_mode="DPO")["result"]["jobId"]
    listed = {mode: len(api.job_list(train_model=mode)["result"]["jobList"]) for mode in ("SFT", "DPO")}
    assert listed == {"SFT": 0, "DPO": 1}
    pairs = make_version(name="pairs")
    Dataset.objects.update(row_type=RowType.PREFERENCE)
    task = api.create_task(job, "LoRA", {}, data(pairs))["result"]["taskId"]
    assert Run.objects.get(uid=task).method == "DPO-LoRA"
    described = api.task_detail(task)["result"]
    assert (described["trainMode"], described["parameterScale"]) == ("DPO", "LoRA")
    assert api.job_list(train_model="DPO")["result"]["jobList"][0]["trainMode"] == "DPO"
    chats = make_version()
    Dataset.objects.filter(name="chats").update(row_type=RowType.MESSAGES)
    assert refused(api.create_task, job, "LoRA", {}, data(chats)) == 400


def test_a_list_asks_the_same_number_of_queries_for_any_length(
    signed_in, create, django_assert_max_num_queries, make_key, alice
):
    from console.api.keys import caller_by_token
    from jobs.api.finetuning import list_jobs
    from jobs.api.finetuning_bodies import ListJobs

    for number in range(4):
        create(name=f"job {number}")
    caller = caller_by_token(make_key(alice).token)
    with django_assert_max_num_queries(1):
        assert len(list_jobs(caller, ListJobs())["jobList"]) == 4


def test_a_running_task_says_how_far_it_is(signed_in, make_run):  # noqa: F811
    run = make_run(RunState.RUNNING, step=3, total_steps=8)
    run.checkpoints.create(step=2, path="checkpoints/checkpoint-2", loss=1.0, created_at=run.created_at)
    detail = api.task_detail(run.uid)["result"]
    assert detail["runProgress"] == "37%"
    assert detail["checkpointList"] == [
        {"step": 2, "perplexity": pytest.approx(2.71828), "trainingLoss": 1.0}
    ]
    assert detail["vdlLink"].startswith("http://") and run.uid in detail["vdlLink"]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"params_scale": "FullFineTuning"}, 400),
        ({"hyper_params": {"epoch": 51}}, 400),
        ({"hyper_params": {"learningrate": 1e-4}}, 400),
        ({"job_id": "job-000000000000"}, 404),
        ({"dataset_config": {"sourceType": "Bos", "versions": [{"versionBosUri": "bos:/a/"}]}}, 400),
        ({"dataset_config": {"sourceType": "Platform", "versions": [{"versionId": "ds-0"}]}}, 404),
        ({"dataset_config": {"sourceType": "Platform", "versions": []}}, 400),
        ({"dataset_config": {"sourceType": "Platform"}}, 400),
        ({"increment_task_id": "task-000000000000"}, 404),
        ({"corpus_config": {"config": [{"corpusType": 2, "proportion": "1:5"}]}}, 400),
        ({"resource_config": {"resourceId": "nowhere"}}, 400),
    ],
)
def test_what_a_wizard_would_refuse_is_refused(signed_in, create, wrong, status):
    assert refused(create, **wrong) == status
    assert not Run.objects.exists()


def test_ninety_nine_rows_are_not_enough(signed_in, create, make_version):  # noqa: F811
    version = make_version(99, name="few")
    assert refused(create, dataset_config=data(version, splitRatio=0)) == 400
    version = make_version(100, name="enough")
    create(name="another", dataset_config=data(version, splitRatio=0))


def test_a_job_is_refused_with_the_field_to_blame(signed_in, base_model):  # noqa: F811
    assert refused(api.create_job, name="a", model="Toy-8K", train_mode="SFT") == 400
    assert refused(api.create_job, name="bot", model="GPT-9", train_mode="SFT") == 400
    assert refused(api.create_job, name="bot", model="Toy-8K", train_mode="PPO") == 400
    api.create_job(name="bot", model="Toy-8K", train_mode="SFT")
    assert refused(api.create_job, name="bot", model="Toy-8K", train_mode="SFT") == 400


def test_others_see_nothing(qianfan_as, make_key, charlie, make_run, make_version, base_model, alice):  # noqa: F811
    run = make_run(RunState.DONE)
    version = make_version()
    qianfan_as(make_key(charlie))
    assert api.job_list()["result"]["jobList"] == []
    for call in (api.task_detail, api.stop_task, api.delete_task):
        assert refused(call, run.uid) == 404
    assert refused(api.task_list, run.job.uid) == 404
    assert refused(api.delete_job, run.job.uid) == 404
    job = api.create_job(name="mine", model="Toy-8K", train_mode="SFT")["result"]["jobId"]
    assert refused(api.create_task, job, "LoRA", {}, data(version)) == 404


def test_a_key_does_no_more_than_its_scope(qianfan_as, make_key, alice, bob, make_run):  # noqa: F811
    run = make_run(RunState.DONE)
    qianfan_as(make_key(alice, "write"))
    assert refused(api.delete_task, run.uid) == 403
    qianfan_as(make_key(alice, "read"))
    assert refused(api.stop_task, run.uid) == 403
    qianfan_as(make_key(bob))
    assert api.task_detail(run.uid)["result"]["runStatus"] == "Done"
    assert refused(api.create_job, name="bot", model="Toy-8K", train_mode="SFT") == 403


def test_wrong_keys(qianfan_as, make_key, alice, monkeypatch):
    made = make_key(alice)
    qianfan_as(type(made)("0" * 32, made.secret_key, ""))
    assert refused(api.job_list) == 403
    qianfan_as(type(made)(made.access_key, "0" * 64, ""))
    assert refused(api.job_list) == 403


def test_errors_say_what_and_where(server, make_key, alice, base_model):  # noqa: F811
    from qianfan.resources.auth.iam import iam_sign
    from qianfan.resources.typing import QfRequest

    made = make_key(alice)

    def post(action, body, **kwargs):
        host = server.removeprefix("http://")
        request = QfRequest(method="POST", url="/v2/finetuning", query={"Action": action})
        request.headers = {"Content-Type": "application/json", "Host": host}
        iam_sign(made.access_key, made.secret_key, request)
        address = f"{server}/v2/finetuning?Action={action}"
        return requests.post(address, data=body, headers=request.headers, timeout=10, **kwargs)

    answer = post("CreateFineTuningJob", json.dumps({"name": "bot", "model": "x", "trainMode": "SFT"}))
    assert (answer.status_code, answer.json()["code"]) == (400, "InappropriateJSON")
    assert "param[model] invalid" in answer.json()["message"]
    assert answer.json()["requestId"]
    assert post("CreateFineTuningJob", "{").json()["code"] == "MalformedJSON"
    assert "param[name] invalid" in post("CreateFineTuningJob", "{}").json()["message"]
    assert post("Nonsense", "{}").json()["code"] == "InvalidAction"
    nul = json.dumps({"taskId": "task-\0"})
    assert post("DescribeFineTuningTask", nul).status_code == 400
    unsigned = requests.post(f"{server}/v2/finetuning?Action=x", timeout=10)
    assert (unsigned.status_code, unsigned.json()["code"]) == (403, "SignatureEmpty")


def test_supported_models_name_types_and_limits(signed_in, base_model):  # noqa: F811
    ModelFamily.objects.update(name="ERNIE Toy")
    (model,) = api.supported_models()["result"]
    assert (model["model"], model["modelType"], model["baseModel"]) == ("Toy-8K", "text2text", "ERNIE Toy")
    (scale,) = model["supportTrainMode"][0]["supportParameterScale"]
    epoch = scale["supportHyperParameterConfig"][0]
    assert {key: epoch[key] for key in ("key", "type", "checkType", "checkValue", "default")} == {
        "key": "epoch",
        "type": "int",
        "checkType": "range",
        "checkValue": [1, 50],
        "default": 1,
    }
    assert epoch["name"] and epoch["description"]
