"""Datasets, their versions, and where their data come from."""

from datasets.models.connections import Addressing, Connection, Location
from datasets.models.shared import SharedData, SharedKind
from datasets.models.tokens import CountState, TokenCount
from datasets.models.uploads import Upload
from datasets.models.versions import Dataset, DatasetVersion, RowType, SourceFile, VersionState

__all__ = [
    "Addressing",
    "Connection",
    "CountState",
    "Dataset",
    "DatasetVersion",
    "Location",
    "RowType",
    "SharedData",
    "SharedKind",
    "SourceFile",
    "TokenCount",
    "Upload",
    "VersionState",
]
