"""The pools that runs may train on, through the own API."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.http import HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from console.rest.answers import answer
from console.rest.authentication import READ, ApiRequest
from console.rest.errors import COMMON
from jobs import loads
from jobs.resources import offered_counts

router = Router(tags=["Resources"])


class PoolOut(BaseModel):
    pool: str = Field(description="Its queue; what a configuration names")
    name: str
    accelerator: str
    device: str
    devices: int
    free: int
    device_counts: list[int] = Field(description="How many a run may ask for")
    allows_idle: bool
    waiting: int = Field(description="Runs that wait, idle ones apart")
    waiting_idle: int
    workers: int = Field(description="Processes that serve it now")
    price: Decimal = Field(description="Of a device hour")
    idle_price: Decimal
    currency: str


class PoolsOut(BaseModel):
    items: list[PoolOut]


@router.get("/pools", auth=READ, response=COMMON | {200: PoolsOut}, summary="Resource pools")
def pools(request: ApiRequest) -> HttpResponse:
    """What they have, what is free, and who waits for it."""
    announced = loads.workers([request.auth.workspace])
    items = [
        PoolOut(
            pool=load.pool.queue,
            name=load.pool.name,
            accelerator=load.pool.accelerator,
            device=load.pool.device_name,
            devices=load.pool.slots,
            free=load.free,
            device_counts=offered_counts(load.pool),
            allows_idle=load.pool.allows_idle,
            waiting=load.waiting,
            waiting_idle=load.waiting_idle,
            workers=load.workers,
            price=load.pool.price,
            idle_price=load.pool.idle_price,
            currency=settings.CURRENCY,
        )
        for load in loads.pools(announced)
    ]
    return answer(request, PoolsOut(items=items))
