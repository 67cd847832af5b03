"""What Prometheus scrapes, and where it finds it.

All of it is asked of the head, also the agents' part: no machine with devices needs an open port or knows a secret.
"""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Request, Response

from farm.errors import InfrastructureError
from farm.server.auth import Reader
from farm.server.exposition import of_readings
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.types import Frozen, Name

router = APIRouter(prefix="/metrics", tags=["metrics"], route_class=Route)

_REMEMBERED = timedelta(days=1)  # an agent that is away for longer is no longer missed


class TargetGroup(Frozen):
    """As Prometheus' ``http_sd_configs`` takes them."""

    targets: tuple[str, ...]
    labels: dict[str, str]


@router.get("", response_class=Response, responses=documented())
def metrics(request: Request, farm: Farm, caller: Reader) -> Response:
    """The farm's state in the Prometheus text format, or in OpenMetrics where that is asked for. The coordinator's part
    is missing while it is away."""
    content, media_type = farm.exposition.text(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type})


@router.get("/targets", responses=documented())
def targets(request: Request, farm: Farm, caller: Reader) -> list[TargetGroup]:
    """Service discovery: the head, and every agent that was heard of within a day."""
    with farm.store.reading() as reading:
        agents = reading.heard_agents(now() - _REMEMBERED)
    address = request.url.netloc  # as whoever asks reaches it
    shared = {"__scheme__": request.url.scheme}
    head = TargetGroup(targets=(address,), labels={**shared, "__metrics_path__": "/metrics", "role": "head"})
    return [
        head,
        *(
            TargetGroup(
                targets=(address,),
                labels={**shared, "__metrics_path__": f"/metrics/agents/{name}", "role": "agent", "agent": name},
            )
            for name in agents
        ),
    ]


@router.get("/agents/{agent}", response_class=Response, responses=documented())
def of_agent(agent: Name, request: Request, farm: Farm, caller: Reader) -> Response:
    """How the devices of an agent are now."""
    readings = farm.scrape.agent(agent)
    if readings is None:
        raise InfrastructureError(f"Agent {agent} does not answer.", remedy="Is it running, and the coordinator?")

    content, media_type = of_readings(readings, request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type})
