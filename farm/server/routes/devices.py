"""The devices of the farm: how they are, and what people ask of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from farm.errors import ConflictError, ForbiddenError, NotFoundError, QuotaError, SelectorError, TooLargeError
from farm.planning.quotas import check_reservation
from farm.selectors import parse
from farm.server.auth import Admin, Reader, Writer
from farm.server.parameters import PAGE, PageLimit
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.types import Device, DeviceDetails, DeviceOrder, Frozen, Name, Reservation, Role

router = APIRouter(prefix="/devices", tags=["devices"], route_class=Route)

Reason = Annotated[str, Field(max_length=500)]


class OrderRequest(Frozen):
    kind: Literal["drain", "maintain", "resume", "check", "loop"]
    reason: Reason = ""


class ReservationRequest(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)

    seconds: float = Field(gt=0, le=366 * 86_400)
    reason: Reason = ""


@router.get("", responses=documented(SelectorError))
def devices(
    farm: Farm,
    caller: Reader,
    selector: Annotated[str | None, Query(max_length=10_000)] = None,
    limit: PageLimit = PAGE,
    after: Annotated[str, Query(max_length=100)] = "",
) -> list[Device]:
    """Those that match the selector's terms (its quantifier counts at submission only), ordered by id; `after` is the
    id to go on from. A page with fewer than `limit` is the last one."""
    wanted = parse(selector) if selector is not None else None
    found: list[Device] = []
    with farm.store.reading() as reading:
        while len(found) < limit:
            page = reading.devices(PAGE, after)
            found += [device for device in page if wanted is None or wanted.matches(device)]
            if len(page) < PAGE:
                break
            after = page[-1].id
    return found[:limit]


@router.get("/{device_id}", responses=documented(NotFoundError))
def device(device_id: Name, farm: Farm, caller: Reader) -> Device:
    with farm.store.reading() as reading:
        return reading.device(device_id)


@router.get("/{device_id}/details", responses=documented(NotFoundError))
def details(device_id: Name, farm: Farm, caller: Reader) -> DeviceDetails:
    """The device with who has it and its last health checks."""
    with farm.store.reading() as reading:
        return DeviceDetails(
            device=reading.device(device_id),
            holder=reading.holder(device_id),
            reservation=reading.reservation(device_id, now()),
            checks=tuple(reading.device_checks(device_id)),
        )


@router.post("/{device_id}/orders", status_code=201, responses=documented(NotFoundError, TooLargeError))
def order(device_id: Name, request: OrderRequest, farm: Farm, caller: Admin) -> DeviceOrder:
    """Ask for it; the coordinator carries it out."""
    with farm.store.transaction() as transaction:
        ordered = transaction.order_device(device_id, request.kind, caller.name, now(), request.reason)
    farm.nudge.send()
    return ordered


@router.post(
    "/{device_id}/reservation",
    status_code=201,
    responses=documented(NotFoundError, ConflictError, QuotaError, TooLargeError),
)
def reserve(device_id: Name, request: ReservationRequest, farm: Farm, caller: Writer) -> Reservation:
    """Only jobs of the caller are started on the device until then. The caller's own reservation is extended."""
    at = now()
    with farm.store.transaction() as transaction:
        transaction.device(device_id)
        check_reservation(farm.settings, transaction, caller.name, device_id, request.seconds, at)
        until = at + timedelta(seconds=request.seconds)
        reservation = transaction.reserve(device_id, caller.name, request.reason, at, until)
        transaction.order_device(device_id, "reserve", caller.name, at, request.reason)
    farm.nudge.send()
    return reservation


@router.delete("/{device_id}/reservation", status_code=204, responses=documented(NotFoundError))
def release(device_id: Name, farm: Farm, caller: Writer) -> None:
    """End the reservation in force. Users release what they have reserved, admins anything."""
    at = now()
    with farm.store.transaction() as transaction:
        transaction.device(device_id)
        held = transaction.reservation(device_id, at)
        if held and held.user != caller.name and caller.role is not Role.ADMIN:
            raise ForbiddenError(
                f"{held.user} has reserved device {device_id}.", remedy=f"Ask {held.user} or an admin to release it."
            )
        transaction.end_reservation(device_id, at)
        transaction.order_device(device_id, "reserve", caller.name, at)
    farm.nudge.send()
