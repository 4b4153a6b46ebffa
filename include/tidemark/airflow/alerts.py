"""Alerts: what a failed run says to people, by the log and by a webhook that an Airflow connection names."""

from collections.abc import Sequence
from typing import Any

import httpx
from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.definitions.context import Context
from airflow.sdk.exceptions import AirflowNotFoundException

ALERT_CONNECTION = "tidemark_alerts"
"""An HTTP connection whose host is a webhook's whole address (Slack, Teams, …) or its server's, with the rest as schema
and password: it is Airflow's to keep, in its database or a secrets backend."""


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
        address = connection.host or ""
        if connection.password:
            address = f"{address.rstrip('/')}/{connection.password}"
        try:
            httpx.post(address, json={"text": text}, timeout=10).raise_for_status()
        except httpx.HTTPError as error:
            # The address may hold a secret, and the error's text the address.
            self.log.error("the alert could not be sent to connection %r: %s", ALERT_CONNECTION, type(error).__name__)


def message(context: Any) -> str:
    """One line on what failed, why, and where to look."""
    ti, error = context["ti"], context.get("exception")
    return f"{ti.dag_id}: task {ti.task_id} failed in run {ti.run_id}: {error}. See {ti.log_url}"
