import subprocess
import sys

import pytest

import farm

HEAVY = {"ray", "torch", "scipy", "pandas", "plotly", "numpy", "fastapi", "sqlalchemy"}


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    "statement", ["import farm", "import farm; farm.Client", "import farm.types", "import farm.cli.app"]
)
def test_importing_the_client_pulls_in_nothing_heavy(statement):
    assert not modules_after(statement) & HEAVY


def test_importing_farm_alone_does_not_even_import_pydantic():
    assert not modules_after("import farm") & {"pydantic", "httpx", "rich", "typer"}


@pytest.mark.parametrize("name", farm.__all__)
def test_every_public_name_is_there(name):
    assert getattr(farm, name).__name__ == name
    assert name in dir(farm)


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Klient"):
        farm.Klient  # noqa: B018
