"""The operations on the settings of the account."""

from typing import Any

from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import CommitmentSet

Answer = dict[str, Any]


class AccountOperations:
    """The minimum throughput billing commitment."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "DescribeAccountSettings": self.describe_settings,
            "UpdateAccountSettings": self.update_settings,
        }

    def describe_settings(self, _: Request) -> Answer:
        """DescribeAccountSettings."""
        return {"MinimumThroughputBillingCommitment": self._state.commitment.describe(self._state.ms())}

    def update_settings(self, request: Request) -> Answer:
        """UpdateAccountSettings."""
        enabled = request["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED"
        self._state.apply(CommitmentSet(enabled=enabled, ms=self._state.ms()))
        return self.describe_settings({})
