"""Sweeps and their nights, the history of results, regressions, notices; runs by name"""

import json
import math
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AT_ONCE = 500
SCORES = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc", "auc_macro")
FIELDS = {
    "latency_mean": "latency_mean_seconds",
    "load": "load_seconds",
    "first_inference": "first_inference_seconds",
    "memory_peak": "memory_peak_bytes",
    "memory_over_baseline": "memory_over_baseline_bytes",
    "artifact_size": "artifact_bytes",
    "energy": "energy_joules",
    "power": "power_watts",
}


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("job_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("night_id", NUMBER, nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("build_key", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=100), nullable=False),
        sa.Column("scenario", sa.String(length=200), nullable=False),
        sa.Column("virtual", sa.Boolean(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_history"),
    )
    op.create_index(
        "ix_history_model_name_variant_device_id_measured_at",
        "history",
        ["model_name", "variant", "device_id", "measured_at"],
    )
    _fill()
    op.create_index("ix_history_night_id", "history", ["night_id"])
    op.create_index("ix_history_run_id", "history", ["run_id"])
    op.create_table(
        "notices",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("channel", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("channel", "cause", name="uq_notices_channel_cause"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_state_next_at", "notices", ["state", "next_at"])
    op.create_table(
        "sweeps",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_next_at", "sweeps", ["next_at"])
    op.create_table(
        "nights",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("sweep", sa.String(length=100), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trigger", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("requested_by", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", NUMBER, nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_nights_model_id"),
        sa.ForeignKeyConstraint(["sweep"], ["sweeps.name"], name="fk_nights_sweep"),
        sa.PrimaryKeyConstraint("id", name="pk_nights"),
        sa.UniqueConstraint("sweep", "due_at", name="uq_nights_sweep_due_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_nights_run_id", "nights", ["run_id"])
    op.create_index("ix_nights_state", "nights", ["state"])
    op.create_table(
        "preparations",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_preparations_model_id"),
        sa.PrimaryKeyConstraint("key", name="pk_preparations"),
    )
    op.create_table(
        "regressions",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("sweep", sa.String(length=100), nullable=False),
        sa.Column("night_id", NUMBER, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("device", sa.String(length=100), nullable=False),
        sa.Column("confirm_run_id", NUMBER, nullable=True),
        sa.Column("regression", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["night_id"], ["nights.id"], name="fk_regressions_night_id"),
        sa.ForeignKeyConstraint(["sweep"], ["sweeps.name"], name="fk_regressions_sweep"),
        sa.PrimaryKeyConstraint("id", name="pk_regressions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_regressions_night_id", "regressions", ["night_id"])
    op.create_index("ix_regressions_state", "regressions", ["state"])
    op.create_index("ix_regressions_sweep", "regressions", ["sweep"])

    op.add_column("results", sa.Column("thinned", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_results_thinned_measured_at", "results", ["thinned", "measured_at"])

    # No foreign key: SQLite would have to make the table anew, which others refer to.
    op.add_column("jobs", sa.Column("model_id", sa.String(length=64), nullable=True))

    op.add_column("devices", sa.Column("noise_ratio", sa.Float(), nullable=True))
    op.add_column("runs", sa.Column("name", sa.Text(), server_default="", nullable=False))
    _name_runs()
    op.create_index("ix_runs_model_name_name", "runs", ["model_name", "name"])


def _name_runs() -> None:
    """From the documents."""
    connection = op.get_bind()
    runs = sa.table("runs", sa.column("id", NUMBER), sa.column("spec", sa.Text()), sa.column("name", sa.Text()))
    query = sa.select(runs.c.id, runs.c.spec).order_by(runs.c.id).limit(AT_ONCE)
    last = 0
    while rows := connection.execute(query.where(runs.c.id > last)).all():
        connection.execute(
            sa.update(runs).where(runs.c.id == sa.bindparam("run")).values(name=sa.bindparam("called")),
            [{"run": row.id, "called": _name(row.spec)} for row in rows],
        )
        last = rows[-1].id


def _name(spec: str) -> str:
    """What a database refuses in text is replaced, as in every column of prose."""
    name: str = json.loads(spec).get("name", "")
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _fill() -> None:
    """History of the results that are there, from the documents as they are written at this revision."""
    connection = op.get_bind()
    history = sa.Table("history", sa.MetaData(), autoload_with=connection)
    history.c.measured_at.type = sa.DateTime(timezone=True)  # SQLite names none
    query = sa.text(
        "SELECT results.job_id, results.result, jobs.run_id, jobs.recipe, jobs.build_key, jobs.device_id,"
        " jobs.scenario, runs.model_name, runs.model_id, devices.facts"
        " FROM results JOIN jobs ON jobs.id = results.job_id JOIN runs ON runs.id = jobs.run_id"
        " JOIN devices ON devices.id = jobs.device_id"
        " WHERE results.job_id > :last ORDER BY results.job_id LIMIT :limit"
    )
    last = -1
    while rows := connection.execute(query, {"last": last, "limit": AT_ONCE}).all():
        connection.execute(sa.insert(history), [_line(row) for row in rows])
        last = rows[-1].job_id


def _line(row: sa.Row[Any]) -> dict[str, Any]:
    result = json.loads(row.result)
    verdict = result["verdict"]
    return {
        **{name: row._mapping[name] for name in ("job_id", "run_id", "model_name", "model_id")},
        **{name: row._mapping[name] for name in ("build_key", "device_id")},
        "night_id": None,
        "variant": json.loads(row.recipe)["name"],
        "scenario": _scenario(json.loads(row.scenario)),
        "virtual": json.loads(row.facts).get("virtual", False),
        "trusted": verdict["level"] == "trusted",
        "verdict": verdict["level"],
        "reasons": json.dumps([reason["code"] for reason in verdict.get("reasons", ())]),
        "measured_at": datetime.fromisoformat(result["measured_at"]).astimezone(UTC),
        "figures": json.dumps(_figures(result)),
    }


def _scenario(given: dict[str, Any]) -> str:
    words = [given.get("name", "single-stream"), f"{given.get('threads', 1)}t"]
    if given.get("cores"):
        words.append(given["cores"])
    if given.get("batch", 1) > 1:
        words.append(f"b{given['batch']}")
    if given.get("accelerator", "cpu") != "cpu":
        words.append(given["accelerator"])
    if given.get("tool"):
        words.append(given["tool"])
    return "/".join(words)


def _figures(result: dict[str, Any]) -> dict[str, float | list[float]]:
    batch, mean = result.get("batch", 1), result.get("latency_mean_seconds")
    latencies = result["latency_seconds"]
    found: dict[str, Any] = {f"latency_{name}": latencies.get(name) for name in ("p50", "p90", "p95", "p99")}
    found |= {name: result.get(field) for name, field in FIELDS.items()}
    if call := latencies.get("p50"):
        found["seconds_per_sample"] = {key: _number(value) / batch for key, value in call.items()}
    found["throughput"] = batch / _number(mean) if mean else None
    if labelled := result.get("evaluation"):
        found |= {name: labelled["metrics"].get(name) for name in SCORES}
        found["score"] = labelled["metrics"][labelled["score"]] if labelled.get("higher_is_better", True) else None
    found["parity_cosine"] = (result.get("parity") or {}).get("cosine")
    stored = {name: _figure(figure) for name, figure in found.items() if figure is not None}
    return {name: figure for name, figure in stored.items() if figure is not None}


def _figure(figure: Any) -> float | list[float] | None:
    """None for what is no number: the documents write those as text."""
    values = [figure[name] for name in ("value", "low", "high")] if isinstance(figure, dict) else [figure]
    numbers = [_number(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        return None
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _number(value: Any) -> float:
    return float(value)  # also of "NaN" and "Infinity"
