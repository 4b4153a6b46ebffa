"""The operations on the settings of streams. All take effect at once, with no UPDATING."""

from typing import Any

from kinesis_emulator.errors import invalid
from kinesis_emulator.service import values_of
from kinesis_emulator.state import Request, State
from kinesis_emulator.state.changes import (
    EncryptionSet,
    MetricsSet,
    ModeSet,
    RecordSizeSet,
    RetentionSet,
    StrategySet,
    WarmThroughputSet,
)
from kinesis_emulator.state.quotas import check_on_demand
from kinesis_emulator.state.stream import Stream

Answer = dict[str, Any]
LEAST_HOURS, MOST_HOURS = 24, 8760
METRICS = [name for name in values_of("MetricsName") if name != "ALL"]


class SettingOperations:
    """Capacity mode, retention, record size, metrics, encryption, distribution, warm throughput."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.operations = {
            "UpdateStreamMode": self.update_mode,
            "IncreaseStreamRetentionPeriod": self.increase_retention,
            "DecreaseStreamRetentionPeriod": self.decrease_retention,
            "UpdateMaxRecordSize": self.update_record_size,
            "EnableEnhancedMonitoring": self.enable_monitoring,
            "DisableEnhancedMonitoring": self.disable_monitoring,
            "StartStreamEncryption": self.start_encryption,
            "StopStreamEncryption": self.stop_encryption,
            "UpdateStreamRecordDistributionStrategy": self.update_strategy,
            "UpdateStreamWarmThroughput": self.update_warm_throughput,
        }

    def update_mode(self, request: Request) -> Answer:
        """UpdateStreamMode: the shards stay as they are; a provisioned stream goes by partition keys again."""
        stream, mode = self._state.changeable(request, "UpdateStreamMode"), request["StreamModeDetails"]["StreamMode"]
        warm = request.get("WarmThroughputMiBps")
        check_on_demand(self._state, mode, warm, None)
        self._state.apply(ModeSet(stream=stream.name, mode=mode))
        if mode == "PROVISIONED" and stream.strategy == "AUTO":
            self._state.apply(StrategySet(stream=stream.name, strategy="USER_PARTITION_KEY"))
        if warm is not None:
            self._state.apply(WarmThroughputSet(stream=stream.name, warm_mibps=int(warm)))
        return {}

    def increase_retention(self, request: Request) -> Answer:
        """IncreaseStreamRetentionPeriod."""
        stream, hours = self._state.changeable(request, "IncreaseStreamRetentionPeriod"), _hours(request)
        if hours < stream.retention_hours:
            raise invalid(
                f"Requested retention period ({hours} hours) for stream {stream.name} can not be shorter than existing "
                f"retention period ({stream.retention_hours} hours). Use DecreaseRetentionPeriod API."
            )
        return self._retain(stream, hours)

    def decrease_retention(self, request: Request) -> Answer:
        """DecreaseStreamRetentionPeriod."""
        stream, hours = self._state.changeable(request, "DecreaseStreamRetentionPeriod"), _hours(request)
        if hours > stream.retention_hours:
            raise invalid(
                f"Requested retention period ({hours} hours) for stream {stream.name} can not be longer than existing "
                f"retention period ({stream.retention_hours} hours). Use IncreaseRetentionPeriod API."
            )
        return self._retain(stream, hours)

    def update_record_size(self, request: Request) -> Answer:
        """UpdateMaxRecordSize."""
        stream = self._state.changeable(request, "UpdateMaxRecordSize")
        self._state.apply(RecordSizeSet(stream=stream.name, max_record_kib=int(request["MaxRecordSizeInKiB"])))
        return {}

    def enable_monitoring(self, request: Request) -> Answer:
        """EnableEnhancedMonitoring: which metrics there are is kept; none is measured."""
        stream, named = self._metrics(request, "EnableEnhancedMonitoring")
        return self._monitor(stream, [name for name in METRICS if name in {*stream.metrics, *named}])

    def disable_monitoring(self, request: Request) -> Answer:
        """DisableEnhancedMonitoring."""
        stream, named = self._metrics(request, "DisableEnhancedMonitoring")
        return self._monitor(stream, [name for name in stream.metrics if name not in named])

    def start_encryption(self, request: Request) -> Answer:
        """StartStreamEncryption: records and answers say KMS from now on; nothing is encrypted."""
        stream = self._encrypted(request, "StartStreamEncryption")
        self._state.apply(EncryptionSet(stream=stream.name, key_id=request["KeyId"]))
        return {}

    def stop_encryption(self, request: Request) -> Answer:
        """StopStreamEncryption."""
        stream = self._encrypted(request, "StopStreamEncryption")
        self._state.apply(EncryptionSet(stream=stream.name, key_id=None))
        return {}

    def update_strategy(self, request: Request) -> Answer:
        """UpdateStreamRecordDistributionStrategy."""
        stream = self._state.changeable(request, "UpdateStreamRecordDistributionStrategy")
        strategy = request["RecordDistributionStrategy"]
        check_on_demand(self._state, stream.mode, None, strategy)
        self._state.apply(StrategySet(stream=stream.name, strategy=strategy))
        return {}

    def update_warm_throughput(self, request: Request) -> Answer:
        """UpdateStreamWarmThroughput: the shards stay as they are."""
        stream = self._state.changeable(request, "UpdateStreamWarmThroughput")
        warm = int(request["WarmThroughputMiBps"])
        check_on_demand(self._state, stream.mode, warm, None)
        self._state.apply(WarmThroughputSet(stream=stream.name, warm_mibps=warm))
        return {"StreamName": stream.name, "StreamARN": stream.arn, "WarmThroughput": stream.warm_throughput}

    def _retain(self, stream: Stream, hours: int) -> Answer:
        self._state.apply(RetentionSet(stream=stream.name, hours=hours))
        return {}

    def _metrics(self, request: Request, action: str) -> tuple[Stream, list[str]]:
        named = request["ShardLevelMetrics"]
        return self._state.changeable(request, action), METRICS if "ALL" in named else named

    def _monitor(self, stream: Stream, metrics: list[str]) -> Answer:
        before = stream.metrics
        self._state.apply(MetricsSet(stream=stream.name, metrics=metrics))
        return {
            "StreamName": stream.name,
            "StreamARN": stream.arn,
            "CurrentShardLevelMetrics": before,
            "DesiredShardLevelMetrics": metrics,
        }

    def _encrypted(self, request: Request, action: str) -> Stream:
        if request["EncryptionType"] != "KMS":
            raise invalid(f"EncryptionType {request['EncryptionType']} is not valid. The only valid value is KMS.")
        return self._state.changeable(request, action)


def _hours(request: Request) -> int:
    hours = int(request["RetentionPeriodHours"])
    if hours < LEAST_HOURS:
        raise invalid(
            f"Minimum allowed retention period is {LEAST_HOURS} hours. Requested retention period ({hours} hours) is "
            "too short."
        )
    if hours > MOST_HOURS:
        raise invalid(
            f"Maximum allowed retention period is {MOST_HOURS} hours. Requested retention period ({hours} hours) is "
            "too long."
        )
    return hours
