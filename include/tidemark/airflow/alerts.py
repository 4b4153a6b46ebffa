"""Alerts: what a failed run says to people, by the log and by a webhook, topic or queue that a connection names."""

import html
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseNotifier, Connection
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.context import Context
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.exceptions import AirflowNotFoundException
from asgiref.sync import sync_to_async

from tidemark.core.terminal import one_line

ALERT_CONNECTION = "tidemark_alerts"
"""Whom to tell. It is Airflow's to keep, in its database or a secrets backend. Of type HTTP: host is a webhook's whole
address (Slack, Teams, …), or that without its secret last part, which is the password. Of type Amazon Web Services: its
extra names ``sns_topic_arn`` or ``sqs_queue_url``, or both."""
SUBJECT = "Tidemark"
MAX_CHARACTERS = 3_000
"""Of an error, in an alert. SNS and SQS take 256 KiB, chats a few thousand characters; the log has all of it."""


ENDED = ("success", "failed")


class Alert(BaseNotifier):
    """Says which task failed and why, or which run is late, with a link. Without the connection the log says so only.

    ``limit``: where it is a run that is late, how long it might have taken.
    """

    template_fields: Sequence[str] = ()

    def __init__(self, context: Context | None = None, limit: str = "") -> None:
        super().__init__(context)
        self._limit = limit

    def notify(self, context: Context) -> None:
        """Send the alert. Never raises: a task that failed must not be hidden by a webhook that does."""
        text = late_message(context, self._limit) if "deadline" in context else message(context)
        if text is None:
            return
        self.log.error("ALERT: %s", text)
        try:
            connection = BaseHook.get_connection(ALERT_CONNECTION)
        except AirflowNotFoundException:
            self.log.info("no connection %r: the alert stands in this log only", ALERT_CONNECTION)
            return
        try:
            if connection.conn_type == "aws":
                self._send_by_aws(connection, text, context)
            else:
                _post(connection, text)
        except Exception as error:
            # The address may hold a secret, and the error's text the address.
            self.log.error("the alert could not be sent to connection %r: %s", ALERT_CONNECTION, type(error).__name__)

    async def async_notify(self, context: Context) -> None:
        """The same in the triggerer, which must not wait for a webhook."""
        await sync_to_async(self.notify)(context)

    def _send_by_aws(self, connection: Connection, text: str, context: Context) -> None:
        # The provider takes a second to import, and most alerts go elsewhere.
        from airflow.providers.amazon.aws.notifications.sns import SnsNotifier
        from airflow.providers.amazon.aws.notifications.sqs import SqsNotifier

        topic, queue = (connection.extra_dejson.get(name) for name in ("sns_topic_arn", "sqs_queue_url"))
        notifiers: list[BaseNotifier] = []
        if topic:
            notifiers.append(SnsNotifier(aws_conn_id=ALERT_CONNECTION, target_arn=topic, message=text, subject=SUBJECT))
        if queue:
            notifiers.append(SqsNotifier(aws_conn_id=ALERT_CONNECTION, queue_url=queue, message_body=text))
        for notifier in notifiers:
            notifier.notify(context)
        if not notifiers:
            self.log.error(
                "connection %r names neither sns_topic_arn nor sqs_queue_url in its extra: add one", ALERT_CONNECTION
            )


def late_alert(limit: timedelta) -> DeadlineAlert:
    """The alert about a run that is not done so long after it was queued; the run goes on."""
    # Run by the triggerer: the API denies connections to callbacks that an executor runs (Airflow 3.3.2).
    callback = AsyncCallback(Alert, {"limit": str(limit)})
    return DeadlineAlert(reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=limit, callback=callback)


def _post(connection: Connection, text: str) -> None:
    address = connection.host or ""
    if connection.password:
        address = f"{address.rstrip('/')}/{connection.password}"
    httpx.post(address, json={"text": text}, timeout=10).raise_for_status()


def message(context: Any) -> str:
    """One line on what failed, why, and where to look."""
    ti = context["ti"]
    # It may quote what events hold, of any length, with characters that a queue refuses, and with orders to a chat such
    # as Slack's <!channel>, which a topic's subscriber may hand on to one. These three characters are all that Slack
    # wants escaped (its documentation, "Formatting message text").
    told = html.escape(one_line(str(context.get("exception")), MAX_CHARACTERS), quote=False)
    return f"{ti.dag_id}: task {ti.task_id} failed in run {ti.run_id}: {told}. See {ti.log_url}"


def late_message(context: Any, limit: str) -> str | None:
    """One line on which run is late; None if it has ended, as Airflow keeps the deadline of a run that failed."""
    run = context["dag_run"]
    if run["state"] in ENDED:
        return None
    dag_id, run_id, state = (run[name] for name in ("dag_id", "dag_run_id", "state"))
    address = f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dags/{dag_id}/runs/{run_id}"
    return f"{dag_id}: run {run_id} is still {state}, {limit} after it was queued. See {address}"
