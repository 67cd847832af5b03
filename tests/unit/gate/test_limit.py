import pytest

from farm.errors import UserError
from farm.gate.limit import bound, max_drop, max_regression, noise, parse


@pytest.mark.parametrize(
    ("text", "amount", "shown"),
    [
        ("max-regression latency_p50=3%", 0.03, "max-regression latency_p50=3 %"),
        ("max-regression latency_p50 = 0.03", 0.03, "max-regression latency_p50=3 %"),
        ("max-regression memory_peak=150%", 1.5, "max-regression memory_peak=150 %"),
        ("max-regression throughput=2.5%", 0.025, "max-regression throughput=2.5 %"),
        ("max-drop accuracy=0.01", 0.01, "max-drop accuracy=0.01"),
        ("max-drop accuracy=1%", 0.01, "max-drop accuracy=0.01"),
        ("max latency_p95=20ms", 0.02, "max latency_p95=20.00 ms"),
        ("max artifact_size=8 MiB", 8 * 2**20, "max artifact_size=8.00 MiB"),
        ("max energy=1.5mJ", 0.0015, "max energy=1.50 mJ"),
        ("min accuracy=0.75", 0.75, "min accuracy=0.7500"),
        ("min throughput=120/s", 120, "min throughput=120.0/s"),
    ],
)
def test_limits_as_people_write_them(text: str, amount: float, shown: str) -> None:
    limit = parse(text)
    assert limit.amount == pytest.approx(amount)
    assert str(limit) == shown


@pytest.mark.parametrize(
    ("make", "text", "remedy"),
    [
        (max_regression, "latency_p50", "latency_p50=3%"),
        (max_regression, "latency_p50=", "latency_p50=3%"),
        (max_regression, "latency_p50=3", "3%"),  # 300 %?
        (max_regression, "latency_p50=-3%", "latency_p50=3%"),
        (max_regression, "latency_p50=3ms", "percentage"),
        (max_regression, "latency_p50=nan", "latency_p50=3%"),
        (max_regression, "speed=3%", "latency_p50"),
        (max_regression, "accuracy=1%", "--max-drop accuracy"),
        (max_regression, "throughput=100%", "less than 100"),
        (max_drop, "latency_p50=0.01", "--max-regression latency_p50"),
        (max_drop, "accuracy=1ms", "0.01"),
        (lambda text: bound("max", text), "latency_p50=20", "ms"),
        (lambda text: bound("max", text), "accuracy=0.7", "--min"),
        (lambda text: bound("min", text), "latency_p50=20ms", "--max"),
        (noise, "latency_p50=2", "3%"),
        (parse, "latency_p50=3%", "max-regression"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_write(make, text: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        make(text)
    assert remedy in caught.value.remedy
