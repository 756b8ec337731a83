"""Warm trainers: how many there are and when."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from jobs import warm


class Waiting:
    """A warm trainer that lives."""

    def poll(self):
        return None


@pytest.fixture
def waiting(monkeypatch, settings):
    """The list of warm trainers of a worker with two slots; 8 GB of memory are free."""
    settings.TRAINER_WARM, settings.TRAINING_SLOTS = True, 2
    monkeypatch.setattr(warm, "_waiting", [])
    monkeypatch.setattr(warm, "_start", Waiting)
    monkeypatch.setattr(warm.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 1024**3))
    return warm._waiting


def test_there_is_one_for_each_slot_however_often_it_is_asked_for(waiting):
    warm.keep_ready()
    warm.keep_next_ready()
    assert len(waiting) == 2


def test_none_is_started_beside_a_run_where_memory_is_short(waiting, monkeypatch):
    monkeypatch.setattr(warm.psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * 1024**3))
    warm.keep_next_ready()
    assert waiting == []


@pytest.mark.parametrize("name", ["TRAINER_WARM", "TRAINER_WARM_NEXT"])
def test_either_setting_turns_the_next_one_off(waiting, settings, name):
    setattr(settings, name, False)
    warm.keep_next_ready()
    assert waiting == []
