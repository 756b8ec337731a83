"""`/v1/…` through OpenAI's own client: files, jobs and models, and what is refused in which words."""

from __future__ import annotations

import json

import openai
import pytest
from django.utils import timezone

from catalog.models import BaseModel, Model, ModelVersion, Offer, OfferedHyperparameter
from catalog.models.registry import ModelVersionState
from console.models import Deletion
from datasets import imports
from datasets.models import DatasetVersion, VersionState
from jobs import lifecycle
from jobs.models import Publication, Run, RunState
from tests.jobs.conftest import base_model, make_run, make_version  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


def rows(count):
    """So many conversations as OpenAI's users write them."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"question {number}"},
                    {"role": "assistant", "content": f"answer {number}"},
                ]
            }
        )
        + "\n"
        for number in range(count)
    ).encode()


@pytest.fixture
def client(openai_as, make_key, alice):
    return openai_as(make_key(alice).token)


@pytest.fixture
def upload(client):
    def go(count=120, name="chats.jsonl"):
        return client.files.create(file=(name, rows(count)), purpose="fine-tune")

    return go


def test_a_file_from_upload_to_deletion(client, upload):
    file = upload()
    assert (file.status, file.filename, file.bytes) == ("processed", "chats.jsonl", len(rows(120)))
    assert client.files.wait_for_processing(file.id).id == file.id
    assert [item.id for item in client.files.list()] == [file.id]
    assert client.files.content(file.id).read() == rows(120)
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert set(Deletion.objects.values_list("kind", flat=True)) == {"dataset", "dataset version"}


def test_files_of_one_name_become_datasets_of_two(upload):
    upload(1), upload(1)
    assert set(DatasetVersion.objects.values_list("dataset__name", flat=True)) == {"chats", "chats (2)"}


def test_bytes_without_a_name_are_taken(client):
    file = client.files.create(file=rows(1), purpose="fine-tune")
    assert (file.status, file.filename) == ("processed", "upload.jsonl")


def test_a_broken_file_says_where(client, base_model):  # noqa: F811
    file = client.files.create(file=("bad.jsonl", rows(1) + b"{broken\n"), purpose="fine-tune")
    assert file.status == "error" and "JSON" in file.status_details
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="Toy-8K", training_file=file.id)
    assert caught.value.param == "training_file"


def test_a_file_that_fails_says_its_first_error_not_a_warning(client):
    foreign = {
        "messages": [
            {"role": "user", "content": "你好吗朋友" * 9},
            {"role": "assistant", "content": "good " * 20},
        ]
    }
    lines = json.dumps(foreign).encode() + b"\n" + rows(3) + b'{"messages": [{"role": "user"}]}\n'
    file = client.files.create(file=("bad.jsonl", lines), purpose="fine-tune")
    assert file.status_details.startswith("Line 5, messages[0].content: ")


def test_a_small_file_is_read_while_the_client_waits_whoever_else_would(client, monkeypatch):
    """A worker that is woken by the upload would be faster; programs use the file at once."""
    woken = []
    monkeypatch.setattr(
        "datasets.tasks.import_version.delay", lambda pk: woken.append(imports.run_import(pk))
    )
    assert client.files.create(file=("a.jsonl", rows(3)), purpose="fine-tune").status == "processed"
    assert woken == [False]


def test_files_that_are_not_accepted(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.jsonl", rows(1)), purpose="assistants")
    assert caught.value.param == "purpose"
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("a.exe", b"MZ"), purpose="fine-tune")


def test_a_job_from_creation_to_cancellation(client, upload, base_model, alice):  # noqa: F811
    training, validation = upload(), upload(20, "held.jsonl")
    job = client.fine_tuning.jobs.create(
        model="Toy-8K",
        training_file=training.id,
        validation_file=validation.id,
        suffix="support",
        seed=7,
        metadata={"team": "a"},
        hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 2, "batch_size": "auto"},
    )
    run = Run.objects.get()
    assert run.hyperparameters == {"epoch": 3, "learningRate": 6e-4, "loggingSteps": 1, "seed": 7}
    assert (run.created_by, run.publish_name, run.method) == (alice, "support", "LoRA")
    assert (job.status, job.model, job.seed) == ("queued", "Toy-8K", 7)
    assert job.hyperparameters.n_epochs == 3
    assert job.hyperparameters.learning_rate_multiplier == pytest.approx(2)
    assert (job.training_file, job.validation_file) == (training.id, validation.id)
    assert DatasetVersion.objects.filter(state=VersionState.PUBLISHED).count() == 2
    assert [item.id for item in client.fine_tuning.jobs.list(metadata={"team": "a"})] == [job.id]
    assert not list(client.fine_tuning.jobs.list(metadata={"team": "b"}))
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.cancel(job.id)
    events = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert events == ["Stopped", "Asked to stop", "Submitted"]
    with pytest.raises(openai.ConflictError):
        client.files.delete(training.id)


PREFERENCES = b"".join(
    json.dumps(
        {
            "input": {"messages": [{"role": "user", "content": f"question {number}"}]},
            "preferred_output": [{"role": "assistant", "content": "yes"}],
            "non_preferred_output": [{"role": "assistant", "content": "no"}],
        }
    ).encode()
    + b"\n"
    for number in range(100)
)


def test_a_job_learns_from_preferences(client, base_model):  # noqa: F811
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="Toy-8K", training_file="file-x", method={"type": "dpo"})
    assert caught.value.param == "method.type"
    offer = Offer.objects.create(base_model=base_model, method="DPO-LoRA")
    OfferedHyperparameter.objects.create(offer=offer, key="dpoBeta", default=0.1, minimum=0.01, maximum=1)
    file = client.files.create(file=("pairs.jsonl", PREFERENCES), purpose="fine-tune")
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    job = client.fine_tuning.jobs.create(model="Toy-8K", training_file=file.id, method=method)
    run = Run.objects.get()
    assert (run.method, run.hyperparameters) == ("DPO-LoRA", {"dpoBeta": 0.2})
    assert (job.method.type, job.method.dpo.hyperparameters.beta) == ("dpo", 0.2)


def test_a_seed_keeps_to_the_limits_of_the_offer(client, base_model, upload):  # noqa: F811
    OfferedHyperparameter.objects.create(
        offer=base_model.offers.get(), key="seed", default=42, minimum=1, maximum=9
    )
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="Toy-8K", training_file=upload().id, seed=0)
    assert caught.value.param == "seed"


def test_a_job_is_paused_and_resumed(client, upload, base_model):  # noqa: F811
    job = client.fine_tuning.jobs.create(model="Toy-8K", training_file=upload().id).id
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.resume(job)
    assert client.fine_tuning.jobs.pause(job).status == "paused"
    assert client.fine_tuning.jobs.pause(job).status == "paused"
    assert client.fine_tuning.jobs.resume(job).status == "queued"
    client.fine_tuning.jobs.cancel(job)
    with pytest.raises(openai.ConflictError):
        client.fine_tuning.jobs.pause(job)


def test_a_job_without_a_validation_file_trains_on_all_rows(client, upload, base_model):  # noqa: F811
    client.fine_tuning.jobs.create(model="Toy-8K", training_file=upload(100).id)
    assert Run.objects.get().split_ratio == 0


def test_hyperparameters_of_the_method(client, upload, base_model):  # noqa: F811
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5}}}
    job = client.fine_tuning.jobs.create(model="Toy-8K", training_file=upload().id, method=method)
    assert job.method.supervised.hyperparameters.n_epochs == 5


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"model": "GPT-9"}, "model"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"learning_rate_multiplier": 1000}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"unheard_of": 1}}, "hyperparameters.unheard_of"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"suffix": "with space"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"extra_body": {"training_method": "FullFineTuning"}}, "training_method"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ],
)
def test_what_a_wizard_would_refuse_is_refused(client, upload, base_model, wrong, param):  # noqa: F811
    file = upload()
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(**{"model": "Toy-8K", "training_file": file.id} | wrong)
    assert caught.value.param == param
    assert not Run.objects.exists()


def test_ninety_nine_rows_are_not_enough(client, upload, base_model):  # noqa: F811
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="Toy-8K", training_file=upload(99).id)
    assert "100" in caught.value.message and caught.value.param == "training_file"


def test_two_jobs_with_one_suffix_do_not_take_each_others_name(client, upload, base_model):  # noqa: F811
    file = upload().id
    for _number in range(2):
        client.fine_tuning.jobs.create(model="Toy-8K", training_file=file, suffix="bot")
    runs = Run.objects.order_by("pk")
    assert [run.publish_name for run in runs] == ["bot", "bot-2"]
    assert [run.job.name for run in runs] == ["bot", "bot (2)"]


def test_lists_come_in_pieces(client, make_run):  # noqa: F811
    made = [make_run(RunState.DONE) for _number in range(5)]
    page = client.fine_tuning.jobs.list(limit=2)
    assert page.has_more and len(page.data) == 2
    everything = [job.id for job in client.fine_tuning.jobs.list(limit=2)]
    assert everything == ["ftjob-" + run.uid.removeprefix("task-") for run in reversed(made)]
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list(limit=1000)


def test_a_list_asks_the_same_number_of_queries_for_any_length(
    make_run,  # noqa: F811
    make_key,
    alice,
    rf,
    django_assert_max_num_queries,
):
    from console.api.keys import caller_by_token
    from jobs.api.openai_jobs import list_jobs

    for _number in range(4):
        make_run(RunState.DONE)
    caller = caller_by_token(make_key(alice).token)
    with django_assert_max_num_queries(3):
        assert len(list_jobs(caller, rf.get("/v1/fine_tuning/jobs"))["data"]) == 4


@pytest.fixture
def published(make_run, workspace):  # noqa: F811
    """A run that is done and published."""
    run = make_run(RunState.DONE)
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    run.model_version = ModelVersion.objects.create(
        model=model, number=1, base_model=run.base_model, method="LoRA", state=ModelVersionState.READY
    )
    run.publication = Publication.PUBLISHED
    run.save()
    return run


def test_the_model_of_a_job_is_listed_and_deleted(client, published):
    job = client.fine_tuning.jobs.retrieve("ftjob-" + published.uid.removeprefix("task-"))
    assert job.status == "succeeded"
    assert job.fine_tuned_model == f"ft:Toy-8K:bot:{published.model_version.uid}"
    assert [model.id for model in client.models.list()] == ["Toy-8K", job.fine_tuned_model]
    assert client.models.retrieve(job.fine_tuned_model).owned_by == "Vision and Language"
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("Toy-8K")
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(job.fine_tuned_model)
    assert caught.value.code == "model_not_found"
    assert not Model.objects.exists()


def test_a_job_has_not_succeeded_before_its_model_is_there(client, published):
    Run.objects.update(publication=Publication.PENDING)
    job = client.fine_tuning.jobs.retrieve("ftjob-" + published.uid.removeprefix("task-"))
    assert (job.status, job.fine_tuned_model) == ("running", None)


def test_events_and_checkpoints(client, make_run):  # noqa: F811
    run = make_run(RunState.FAILED, failure={"code": "out_of_memory", "params": {}, "message": "No memory."})
    lifecycle.note(run, "checkpoint", step=4)
    for step in (4, 8):
        run.checkpoints.create(step=step, path="x", loss=1.5, eval_loss=1.25, created_at=timezone.now())
    job = client.fine_tuning.jobs.retrieve("ftjob-" + run.uid.removeprefix("task-"))
    assert (job.status, job.error.code) == ("failed", "out_of_memory")
    saved = client.fine_tuning.jobs.checkpoints.list(job.id, limit=1).data
    assert [(item.step_number, item.metrics.train_loss) for item in saved] == [(8, 1.5)]
    (event,) = client.fine_tuning.jobs.list_events(job.id).data
    assert event.message == "Checkpoint saved at step 4"


def test_others_see_nothing(openai_as, make_key, charlie, published, make_version, base_model):  # noqa: F811
    client = openai_as(make_key(charlie).token)
    job = "ftjob-" + published.uid.removeprefix("task-")
    file = "file-" + make_version().uid.removeprefix("ds-")
    assert not list(client.fine_tuning.jobs.list()) and not list(client.files.list())
    assert [model.id for model in client.models.list()] == ["Toy-8K"]
    for call, given in (
        (client.fine_tuning.jobs.retrieve, job),
        (client.fine_tuning.jobs.cancel, job),
        (client.files.retrieve, file),
        (client.files.content, file),
        (client.files.delete, file),
        (client.models.delete, f"ft:Toy-8K:bot:{published.model_version.uid}"),
    ):
        with pytest.raises(openai.NotFoundError):
            call(given)
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.create(model="Toy-8K", training_file=file)


def test_keys_and_scopes(openai_as, make_key, alice, bob, make_version):  # noqa: F811
    with pytest.raises(openai.AuthenticationError) as caught:
        openai_as("sk-wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    file = "file-" + make_version().uid.removeprefix("ds-")
    with pytest.raises(openai.PermissionDeniedError):
        openai_as(make_key(alice, "write").token).files.delete(file)
    reader = openai_as(make_key(bob).token)
    assert len(list(reader.files.list())) == 1
    with pytest.raises(openai.PermissionDeniedError):
        reader.files.create(file=("a.jsonl", rows(1)), purpose="fine-tune")


def test_paths_and_methods_that_are_not_offered(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="x", input="y")
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/models", cast_to=object)
    assert caught.value.status_code == 405
    with pytest.raises(openai.BadRequestError):
        client.models.retrieve("a\0b")


def test_a_session_is_no_key(client_of, alice):
    assert client_of(alice).get("/v1/models").status_code == 401
    assert client_of(alice).post("/v2/finetuning?Action=DescribeFineTuningJobs").status_code == 403


def test_base_models_that_are_switched_off_are_not_listed(client, base_model):  # noqa: F811
    BaseModel.objects.update(enabled=False)
    assert not list(client.models.list())


def test_a_body_that_is_too_large_is_told_so(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.fine_tuning.jobs.create(model="x" * 7_000_000, training_file="file-x")
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
