"""A base model, a published dataset and runs in any state, made directly in the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter, WeightsKind
from datasets.models import Dataset, DatasetVersion, VersionState
from jobs.models import Job, Run, RunState
from tests.rows import chats, store_rows


@pytest.fixture
def base_model(db) -> BaseModel:
    """A bound text model with one offer: LoRA with three hyperparameters."""
    family = ModelFamily.objects.create(key="toy", name="Toy", model_type="text2text")
    model = BaseModel.objects.create(
        family=family, name="Toy-8K", weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/toy"
    )
    offer = Offer.objects.create(base_model=model, method="LoRA")
    for order, (key, default, low, high) in enumerate(
        [("epoch", 1, 1, 50), ("learningRate", 3e-4, 1e-6, 1e-3), ("loggingSteps", 1, 1, 100)]
    ):
        OfferedHyperparameter.objects.create(
            offer=offer, key=key, order=order, default=default, minimum=low, maximum=high
        )
    return model


@pytest.fixture
def make_version(workspace) -> Callable[..., DatasetVersion]:
    """Returns a function that publishes a version with the given number of small conversations."""

    def make(
        rows: int = 120, state: str = VersionState.PUBLISHED, name: str = "chats", **fields
    ) -> DatasetVersion:
        dataset, _new = Dataset.objects.get_or_create(workspace=fields.pop("workspace", workspace), name=name)
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=dataset.versions.count() + 1,
            state=state,
            row_count=rows,
            turn_count=rows,
            character_count=rows * 20,
            **fields,
        )
        version.rows_path = store_rows(f"datasets/{version.uid}/rows.parquet", chats(rows))
        version.save()
        return version

    return make


@pytest.fixture
def make_run(workspace, alice, base_model) -> Callable[..., Run]:
    """Returns a function that creates a run of one job in a given state."""

    def make(state: str = RunState.WAITING, **fields) -> Run:
        job, _new = Job.objects.get_or_create(
            workspace=workspace, name="support bot", defaults={"model_type": "text2text", "created_by": alice}
        )
        return Run.objects.create(
            job=job,
            version=job.runs.count() + 1,
            base_model=base_model,
            state=state,
            created_by=alice,
            **{"method": "LoRA", **fields},
        )

    return make
