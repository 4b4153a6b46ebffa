"""What comes before Spark: the range of a run is resolved, estimated and, where it is long, approved.

What reads tables is imported by the tasks that do: a parse of a DAG file needs none of it.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, Context, PokeReturnValue, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tidemark.airflow.assets import triggering_range
from tidemark.airflow.steps.ranges import plan_range
from tidemark.core.errors import BusyError, TidemarkError
from tidemark.core.locks import refuse_claimed
from tidemark.core.settings import Settings, get_settings
from tidemark.definition import Pipeline
from tidemark.pipelines import get_pipeline

WAIT_SECONDS = 20
"""Between two looks whether a range is free."""
ANSWER_RETRIES = 10
"""How often a person is asked again: on a busy machine, up to every second answer that comes at once is lost."""
EARLIER_RUNS = 20
"""Runs whose figures an estimate goes by."""


def resolve_range(
    pipeline: Pipeline, settings: Settings, given: dict[str, Any], start: datetime | None, end: datetime | None
) -> dict[str, str]:
    """The range that a form and a data interval say, checked.

    Raises:
        AirflowFailException: it makes no sense; the message says why.
    """
    from tidemark.monitoring.estimate import refuse_before_history

    try:
        first, last = plan_range(given.get("from"), given.get("to"), start, end, datetime.now(UTC).date())
        if given.get("from"):
            refuse_before_history(pipeline, settings, first, last)
    except TidemarkError as error:
        raise AirflowFailException(str(error)) from error
    return {"from": first.isoformat(), "to": last.isoformat()}


@task
def plan(
    pipeline: str,
    params: dict[str, Any] | None = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    triggering_asset_events: Any = None,
) -> dict[str, str]:
    """Settle the range of event dates: the form's, or that of the assets' events that started the run.

    A wrong one fails the run before Spark starts.
    """
    if (told := triggering_range(triggering_asset_events)) and not (params or {}).get("from"):
        return dict(zip(("from", "to"), told, strict=True))
    return resolve_range(get_pipeline(pipeline), get_settings(), params or {}, data_interval_start, data_interval_end)


def plan_reprocess(pipeline: Pipeline, measured: Asset) -> Any:
    """Settle the range, wait until no other run is at one of its dates, and say what will be read.

    ``measured``: the asset whose events carry the figures of earlier runs.
    """
    name = pipeline.name

    @task.sensor(task_id="plan", mode="reschedule", poke_interval=WAIT_SECONDS, timeout=86_400, inlets=[measured])
    def settle(
        params: dict[str, Any] | None = None,
        data_interval_start: datetime | None = None,
        data_interval_end: datetime | None = None,
        inlet_events: Any = None,
    ) -> PokeReturnValue:
        """Check the form, wait for a free range, and estimate the run."""
        from tidemark.monitoring.estimate import expected_seconds, slice_of, timed

        definition, settings, given = get_pipeline(name), get_settings(), params or {}
        planned = resolve_range(definition, settings, given, data_interval_start, data_interval_end)
        start, end = (datetime.fromisoformat(planned[key]).date() for key in ("from", "to"))
        dry_run = bool(given.get("dry_run"))
        try:
            if not dry_run:
                refuse_claimed(name, start, end, settings)
            read = slice_of(definition, settings, start, end)
        except BusyError as error:
            print(f"WAITING: {error}. Looks again in {WAIT_SECONDS} s")  # noqa: T201
            return PokeReturnValue(is_done=False)
        except TidemarkError as error:
            raise AirflowFailException(str(error)) from error
        if not given.get("from") and not read.dates_with_events:
            raise AirflowSkipException(f"no event of [{start}, {end}) has come: there is nothing to recompute")
        events = inlet_events[measured].ascending(False).limit(EARLIER_RUNS)
        seconds = expected_seconds(read.bronze_rows, timed([event.extra or {} for event in events]))
        expected = "not known before a first run" if seconds is None else f"about {seconds:,.0f} s"
        summary = (
            f"event dates [{start}, {end}): {read.dates} dates, {read.dates_with_events} of them with events; to read "
            f"of bronze: {read.bronze_rows:,} rows, {read.bronze_bytes:,} bytes in {read.bronze_files:,} files; "
            f"expected time: {expected}"
        )
        print(f"{'DRY RUN, nothing is published' if dry_run else 'PLAN'}: {summary}")  # noqa: T201
        figures = {**read._asdict(), "expected_seconds": seconds, "dry_run": dry_run, "summary": summary}
        return PokeReturnValue(is_done=True, xcom_value={**planned, **figures})

    return settle()


class ApproveLongRange(ApprovalOperator):
    """Waits for a person where a run has more event dates than the setting allows; ends a dry run.

    Nothing has been started or changed until then. A rejected run is skipped; one that nobody answers for a day fails.

    Airflow (to 3.3) may take an answer that comes within seconds of the question for the end of a lost task, and fails
    it (apache/airflow issues 67287 and 72716). The task is retried then, and asks again.
    """

    def __init__(self, *, limit_days: int, **arguments: Any) -> None:
        super().__init__(
            subject="Reprocess {{ ti.xcom_pull(task_ids='plan')['dates'] }} event dates of "
            "{{ dag.dag_id.split('.')[0] }}?",
            body="{{ ti.xcom_pull(task_ids='plan')['summary'] }}",
            response_timeout=timedelta(days=1),
            **arguments,
        )
        self._limit_days = limit_days

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        """End the task without a retry where nobody has answered: a retry would ask for another day.

        Raises:
            AirflowFailException: always; the message says what happened.
        """
        raise AirflowFailException(f"nothing was approved: {event['error']}")

    def execute(self, context: Context) -> Any:
        """Ask, if there is something to ask.

        Raises:
            AirflowSkipException: it is a dry run.
        """
        planned = context["ti"].xcom_pull(task_ids="plan")
        if planned["dry_run"]:
            raise AirflowSkipException("a dry run ends here: see the log of the task plan")
        if planned["dates"] <= self._limit_days:
            self.log.info("%d dates need no approval (more than %d do)", planned["dates"], self._limit_days)
            return None
        return super().execute(context)


def approve() -> ApproveLongRange:
    """The task that asks where the range is long."""
    return ApproveLongRange(task_id="approve", limit_days=get_settings().approval_days, retries=ANSWER_RETRIES)
