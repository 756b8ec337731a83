"""Complete flows with a real worker: Qianfan's own trainer, and a job of OpenAI's client."""

from __future__ import annotations

import psutil
import pytest
import qianfan
from qianfan.dataset import Dataset as SdkDataset
from qianfan.model import Model as SdkModel
from qianfan.resources.console.model import Model as ModelApi
from qianfan.trainer import LLMFinetune
from qianfan.trainer.configs import DatasetConfig, TrainConfig

from catalog.models import BaseModel, Offer, OfferedHyperparameter
from jobs.models import Run
from tests.jobs.conftest import base_model, make_version  # noqa: F401  (fixtures)
from tests.processes import Worker, wait_for
from tests.tiny_models import make_tiny

pytestmark = [pytest.mark.training, pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("weights") / "llama", "llama")


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path / "worker.log", "training,default")
    yield worker
    worker.stop()
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or []):
            process.kill()


@pytest.fixture
def toy(base_model, weights):  # noqa: F811
    """The toy model bound to tiny weights, with what a quick run needs to set."""
    BaseModel.objects.filter(pk=base_model.pk).update(weights_location=str(weights))
    offer = Offer.objects.get(base_model=base_model)
    for key, default, most in (("batchSize", 8, 16), ("maxSeqLen", 512, 1024)):
        OfferedHyperparameter.objects.create(
            offer=offer, key=key, order=9, default=default, minimum=1, maximum=most
        )
    return base_model


@pytest.fixture
def quick(qianfan_as, make_key, alice, monkeypatch):
    """The SDK with Alice's key, asking every second."""
    qianfan_as(make_key(alice))
    settings = qianfan.get_config()
    for name in ("TRAIN_STATUS_POLLING_INTERVAL", "MODEL_PUBLISH_STATUS_POLLING_INTERVAL"):
        monkeypatch.setattr(settings, name, 1)


@pytest.mark.parametrize("named", ["by identifier", "as a dataset"])
def test_llm_finetune_trains_and_publishes(quick, worker, toy, make_version, named):  # noqa: F811
    version = make_version(120)
    if named == "by identifier":
        data = {
            "dataset": DatasetConfig(
                datasets=[{"versionId": version.uid}], source_type="Platform", eval_split_ratio=10
            )
        }
    else:
        data = {"dataset": SdkDataset.load(qianfan_dataset_id=version.uid)}
    config = TrainConfig(epoch=1, learning_rate=1e-3, peft_type="LoRA")
    trainer = LLMFinetune(train_type="Toy-8K", train_config=config, **data)
    trainer.run()
    run = Run.objects.get()
    assert trainer.output["task_id"] == run.uid
    published = (trainer.output["model_set_id"], trainer.output["model_id"])
    assert published == (run.model_version.model.uid, run.model_version.uid)
    assert run.hyperparameters["epoch"] == 1
    assert run.split_ratio == (10 if named == "by identifier" else 20)
    version = SdkModel(id=run.model_version.uid)
    version.auto_complete_info()
    assert version.set_id == run.model_version.model.uid
    described = ModelApi.V2.describe_model(run.model_version.uid)["result"]
    assert (described["status"], described["sourceInfo"]["trainTaskId"]) == ("Ready", run.uid)


def test_a_job_of_openais_client_ends_with_a_model(openai_as, make_key, alice, worker, toy, make_version):  # noqa: F811
    client = openai_as(make_key(alice).token)
    file = "file-" + make_version(120).uid.removeprefix("ds-")
    job = client.fine_tuning.jobs.create(
        model="Toy-8K", training_file=file, suffix="bot", hyperparameters={"n_epochs": 1}
    )
    wait_for(lambda: client.fine_tuning.jobs.retrieve(job.id).status in ("succeeded", "failed"))
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert (job.status, job.error) == ("succeeded", None)
    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    assert job.trained_tokens > 0
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert "Published as bot V1" in messages
