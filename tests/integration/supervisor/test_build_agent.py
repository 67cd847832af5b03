"""Which machines may build: those that see the farm's artifact store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from farm.cluster import node
from farm.config import Settings
from farm.types import Role
from tests.integration.server.conftest import serve


def test_a_machine_that_does_not_see_the_artifact_store_is_told_before_it_joins(tmp_path: Path) -> None:
    # In the memory of the head's process: a store that no other process sees.
    settings = Settings(state_dir=tmp_path / "head", ray_host="127.0.0.2", store_url="memory://farm")
    address = node.head_address_file(settings)
    address.parent.mkdir()
    try:
        address.write_text("127.0.0.2:9")
        with serve(settings) as farm:
            command = [sys.executable, "-m", "farm.cli.app", "agent", "--join", farm.url, "--build-slots", "1"]
            done = subprocess.run(
                [*command, "--state-dir", str(tmp_path / "agent")],
                env=os.environ | {"FARM_TOKEN": farm.tokens[Role.AGENT]},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
    finally:
        address.unlink()
        address.parent.rmdir()
    assert done.returncode == 2, done.stderr
    assert "artifact store" in done.stderr and "NFS" in done.stderr
