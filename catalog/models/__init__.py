"""What is offered (offers.py) and what training made of it (registry.py)."""

from catalog.models.offers import BaseModel, ModelFamily, ModelType, Offer, OfferedHyperparameter, WeightsKind
from catalog.models.pushes import Push
from catalog.models.registry import Model, ModelVersion

__all__ = [
    "BaseModel",
    "Model",
    "ModelFamily",
    "ModelType",
    "ModelVersion",
    "Offer",
    "OfferedHyperparameter",
    "Push",
    "WeightsKind",
]
