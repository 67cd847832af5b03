"""``python -m farm.sweeps``: keeps the nightly sweeps going until SIGTERM. Its supervisor starts it again."""

from __future__ import annotations

import logging
import sys

from farm.config import load
from farm.errors import FarmError
from farm.notifications.sender import Sender
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.supervisor.ground import stop_signals
from farm.sweeps import sources
from farm.sweeps.bisection import Bisector
from farm.sweeps.confirmation import Confirmation
from farm.sweeps.examination import Examination
from farm.sweeps.nights import Nights
from farm.sweeps.watch import Duty, Watch


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = load()
        with stop_signals() as stopping:
            store = Store(settings.resolved_database_url)
            try:
                artifacts = ArtifactStore(settings.resolved_store_url)
                duties: list[Duty] = [
                    Nights(store, artifacts, settings, sources.prepare),
                    Examination(store, settings),
                    Confirmation(store, artifacts, settings),
                    Bisector(store, artifacts, settings),
                    Sender.of(store, settings),
                ]
                Watch(duties).run(stopping)
            finally:
                store.close()
    except FarmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
