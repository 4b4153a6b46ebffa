"""Alerts: what a failed run says to people, by the log and by a webhook, topic or queue that a connection names."""

from collections.abc import Sequence
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseNotifier, Connection
from airflow.sdk.definitions.context import Context
from airflow.sdk.exceptions import AirflowNotFoundException

ALERT_CONNECTION = "tidemark_alerts"
"""Whom to tell. It is Airflow's to keep, in its database or a secrets backend. Of type HTTP: host is a webhook's whole
address (Slack, Teams, …), or that without its secret last part, which is the password. Of type Amazon Web Services: its
extra names ``sns_topic_arn`` or ``sqs_queue_url``, or both."""
SUBJECT = "Tidemark"


class Alert(BaseNotifier):
    """Says which run failed and why, with a link to it. Without the connection it says so in the task's log only."""

    template_fields: Sequence[str] = ()

    def notify(self, context: Context) -> None:
        """Send the alert. Never raises: a task that failed must not be hidden by a webhook that does."""
        text = message(context)
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


def _post(connection: Connection, text: str) -> None:
    address = connection.host or ""
    if connection.password:
        address = f"{address.rstrip('/')}/{connection.password}"
    httpx.post(address, json={"text": text}, timeout=10).raise_for_status()


def message(context: Any) -> str:
    """One line on what failed, why, and where to look."""
    ti, error = context["ti"], context.get("exception")
    return f"{ti.dag_id}: task {ti.task_id} failed in run {ti.run_id}: {error}. See {ti.log_url}"
