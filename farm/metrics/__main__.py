"""``python -m farm.metrics``: pushes results to Prometheus until SIGTERM. Its supervisor starts it again."""

from __future__ import annotations

import logging
import sys

from farm.config import load
from farm.errors import FarmError
from farm.metrics.publisher import Publisher
from farm.metrics.remotewrite import Endpoint
from farm.store.database import Store
from farm.supervisor.ground import stop_signals


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every request
    try:
        settings = load()
        with stop_signals() as stopping, Endpoint.of(settings) as endpoint:
            store = Store(settings.resolved_database_url)
            try:
                Publisher(store, endpoint).run(stopping)
            finally:
                store.close()
    except FarmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
