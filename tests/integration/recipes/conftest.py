import pytest

from farm.packaging import package
from tests.integration.recipes.workshop import Workshop, images, small_net


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def spec(workshop):
    parity = images(8, seed=2)
    calibration = images(16, seed=1)
    return workshop.put(
        package(small_net(), (parity[0],), name="small-net", parity_inputs=parity, calibration_inputs=calibration)
    )
