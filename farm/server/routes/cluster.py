"""How a machine with devices joins the farm."""

from __future__ import annotations

import platform
from importlib.metadata import version

from fastapi import APIRouter

from farm.cluster.node import cluster_token, head_address, head_session, is_loopback
from farm.errors import ConflictError, InfrastructureError
from farm.recipes.runtimes import BUILDERS
from farm.recipes.specification import installed
from farm.server.auth import Joiner
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.types import ClusterJoin

router = APIRouter(prefix="/cluster", tags=["cluster"], route_class=Route)


@router.get("/join", responses=documented(ConflictError))
def join(farm: Farm, caller: Joiner) -> ClusterJoin:
    """Address and secret of the Ray cluster. The secret lets its holder run code on every node."""
    if farm.settings.ray_address is None and is_loopback(farm.settings):
        raise ConflictError(
            "This head's Ray cluster listens on loopback only, so no agent can join it.",
            remedy="Start the head with `farm up --ray-host ADDRESS`, an address of it that the agents reach.",
        )
    address = farm.settings.ray_address or head_address(farm.settings)
    if address is None:
        raise InfrastructureError("The farm's Ray cluster is not up.", remedy="Try again in a few seconds.")
    return ClusterJoin(
        ray_address=address,
        ray_session=head_session(farm.settings),
        ray_token=cluster_token(farm.settings),
        ray_version=version("ray"),
        python_version=platform.python_version(),
        tool_versions=installed({tool for builder in BUILDERS.values() for tool in builder.TOOLS}),
        store_url=farm.settings.resolved_store_url,
        store_id=farm.artifacts.id(),
    )
