"""What is offered (offers.py) and what training made of it (registry.py)."""

from catalog.models.offers import BaseModel, ModelFamily, ModelType, Offer, OfferedHyperparameter, WeightsKind
from catalog.models.pushes import HubAccount, Push
from catalog.models.registry import Model, ModelVersion
from catalog.models.serving import ServingEndpoint

__all__ = [
    "BaseModel",
    "HubAccount",
    "Model",
    "ModelFamily",
    "ModelType",
    "ModelVersion",
    "Offer",
    "OfferedHyperparameter",
    "Push",
    "ServingEndpoint",
    "WeightsKind",
]
