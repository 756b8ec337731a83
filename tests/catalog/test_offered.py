"""What is kept of the catalogue in memory is never older than the catalogue."""

import pytest
from django.db import transaction

from catalog.models import BaseModel, Offer, OfferedHyperparameter
from catalog.offered import enabled_offers

pytestmark = pytest.mark.django_db


def found(name: str) -> Offer | None:
    return next((offer for offer in enabled_offers() if offer.base_model.name == name), None)


@pytest.fixture
def offer(some_families) -> Offer:
    return enabled_offers()[0]


def test_second_reading_asks_for_the_revision_alone(offer, django_assert_num_queries):
    with django_assert_num_queries(1):
        again = enabled_offers()[0]
        assert again is offer and list(again.hyperparameters.all())


def test_bulk_update_is_seen(offer):
    BaseModel.objects.filter(pk=offer.base_model_id).update(enabled=False)
    assert found(offer.base_model.name) is None


def test_changed_hyperparameter_is_seen(offer):
    item = offer.hyperparameters.all()[0]
    OfferedHyperparameter.objects.filter(pk=item.pk).update(order=999)
    assert found(offer.base_model.name).hyperparameters.all()[0].pk != item.pk


def test_change_that_was_rolled_back_leaves_nothing_behind(offer):
    with transaction.atomic():
        BaseModel.objects.filter(pk=offer.base_model_id).update(name="renamed")
        assert found("renamed")
        transaction.set_rollback(True)
    assert found("renamed") is None and found(offer.base_model.name)


def test_another_change_after_a_rollback_is_not_taken_for_the_first(offer):
    for name in ("first", "second"):
        with transaction.atomic():
            BaseModel.objects.filter(pk=offer.base_model_id).update(name=name)
            assert found(name)
            transaction.set_rollback(True)


def test_deleted_offer_is_seen(offer):
    count = len(enabled_offers())
    offer.hyperparameters.all().delete()
    Offer.objects.filter(pk=offer.pk).delete()
    assert len(enabled_offers()) == count - 1
