"""Dataset versions as the own API describes them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from console.rest.answers import Next
from datasets.models import DatasetVersion, VersionState


class VersionOut(BaseModel):
    uid: str
    dataset: str
    name: str
    version: int
    kind: str
    state: str = Field(description="empty, importing, failed, draft or published")
    progress: int = Field(description="Percent of the import")
    format: str
    rows: int
    turns: int
    characters: int
    size: int
    problems: int
    content_hash: str = Field(description="sha256 over the rows: equal ones train the same")
    created_at: datetime
    created_by: str | None
    published_at: datetime | None


class VersionPage(BaseModel):
    items: list[VersionOut]
    next: Next


def version_out(version: DatasetVersion) -> VersionOut:
    """Dataset and person should be at hand."""
    is_importing = version.state == VersionState.IMPORTING
    return VersionOut(
        uid=version.uid,
        dataset=version.dataset.uid,
        name=str(version),
        version=version.number,
        kind=version.dataset.row_type,
        state=version.state,
        progress=min(99, 100 * version.progress // max(1, version.size)) if is_importing else 100,
        format=version.format,
        rows=version.row_count,
        turns=version.turn_count,
        characters=version.character_count,
        size=version.size,
        problems=version.problem_count,
        content_hash=version.content_hash,
        created_at=version.created_at,
        created_by=version.created_by.username if version.created_by else None,
        published_at=version.published_at,
    )
