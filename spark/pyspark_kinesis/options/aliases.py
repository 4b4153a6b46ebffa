"""Options of other connectors, and what to write here instead.

Sources: the READMEs and option classes of awslabs/spark-sql-kinesis-connector, "Kinesis connections" of AWS Glue's
documentation, and "Connect to Amazon Kinesis" of Databricks'. docs/kinesis/moving.md of the repository says the same by
connector, and a test compares the two.
"""

FOREIGN = {
    # awslabs
    "kinesis.streamName": "streamName",
    "kinesis.region": "region",
    "kinesis.kinesisRegion": "region",
    "kinesis.endpointUrl": "endpointUrl",
    "kinesis.initialPosition": "startingPosition",
    "kinesis.startingPosition": "startingPosition",
    "kinesis.failOnDataLoss": "failOnDataLoss",
    "kinesis.maxFetchRecordsPerShard": "maxRecordsPerShardPerTrigger",
    "kinesis.maxFetchTimePerShardSec": "maxFetchSeconds",
    "kinesis.describeShardInterval": "shardRefreshSeconds",
    "kinesis.getRecords.fetchIntervalMs": "maxGetRecordsPerSecond",
    "kinesis.stsRoleArn": "roleArn",
    "kinesis.stsSessionName": "roleSessionName",
    "kinesis.stsEndpointUrl": "stsEndpointUrl",
    "kinesis.metadataPath": "ledgerLocation",
    "kinesis.metadataCommitterType": "ledgerLocation",
    "kinesis.dynamodb.tableName": "ledgerLocation",
    "kinesis.consumerName": "consumerName",
    # What chooses between polling and subscriptions elsewhere; here consumerName does, by being set.
    "kinesis.consumerType": "consumerName",
    "kinesis.credentialProviderClass": "roleArn",
    "kinesis.credentialProviderParam": "roleArn",
    "kinesis.sink.maxConnections": "requestsInFlight",
    "kinesis.sink.recordTtl": "patienceSeconds",
    # AWS Glue
    "awsSTSRoleARN": "roleArn",
    "awsSTSSessionName": "roleSessionName",
    "maxFetchRecordsPerShard": "maxRecordsPerShardPerTrigger",
    "maxFetchTimeInMs": "maxFetchSeconds",
    "describeShardInterval": "shardRefreshSeconds",
    "idleTimeBetweenReadsInMs": "maxGetRecordsPerSecond",
    "addIdleTimeBetweenReads": "maxGetRecordsPerSecond",
    "awsSTSEndpoint": "stsEndpointUrl",
    "fanoutConsumerARN": "consumerARN",
    # Databricks
    "initialPosition": "startingPosition",
    "endpoint": "endpointUrl",
    "stsEndpoint": "stsEndpointUrl",
    "maxFetchDuration": "maxFetchSeconds",
    "maxFetchRate": "maxGetRecordsPerSecond",
    "fetchBufferSize": "maxBytesPerTrigger",
    "shardFetchInterval": "shardRefreshSeconds",
    "consumerMode": "consumerName",
    "consumerNamePrefix": "consumerName",
    "registeredConsumerId": "consumerARN",
    "registeredConsumerIdType": "consumerARN",
    "minFetchPeriod": "maxGetRecordsPerSecond",
    "maxPartitions": "tasks",
    "serviceCredential": "roleArn",
    # Others
    "kinesisEndpointUrl": "endpointUrl",
}
"""By option of another connector, the one to use here."""

_BY_THE_CALL = (
    "each GetRecords call asks for as many records as the limits leave, up to 10,000; maxRecordsPerShardPerTrigger "
    "limits a micro-batch"
)
_NEVER_WAITED_FOR = (
    "a subscription is not waited for: while none is to be had, records come by GetRecords, in order and once as ever"
)
_CLEANED_UP = "a query deregisters what it registered when it ends, and leaves alone what was there before"
_NO_EMPTY_BATCHES = "no micro-batch is started where there is nothing to read"
_REPEATED = "throttles, 5xx and broken connections are repeated with jitter, for a minute"
_PARSE_IT = "data comes as the bytes that were put: parse it with from_json, from_csv or from_avro"
_AS_THEY_ARE = "a row becomes one record: nothing is aggregated or kept back"
NEEDLESS = {
    "kinesis.clientNumRetries": _REPEATED,
    "kinesis.clientRetryIntervalsMs": _REPEATED,
    "kinesis.clientMaxRetryIntervalMs": _REPEATED,
    "kinesis.metadataNumRetries": _REPEATED,
    "kinesis.metadataRetryIntervalsMs": _REPEATED,
    "kinesis.metadataMaxRetryIntervalMs": _REPEATED,
    "numRetries": _REPEATED,
    "retryIntervalMs": _REPEATED,
    "maxRetryIntervalMs": _REPEATED,
    "kinesis.minBatchesToRetain": "the ledger keeps what a replay may need, and drops the rest by itself",
    "kinesis.checkNewRecordThreads": "up to sixteen shards are asked at the same time",
    "kinesis.sink.flushWaitTimeMs": _AS_THEY_ARE,
    "kinesis.sink.recordMaxBufferedTimeMs": _AS_THEY_ARE,
    "kinesis.sink.aggregationEnabled": _AS_THEY_ARE,
    "classification": _PARSE_IT,
    "delimiter": _PARSE_IT,
    "inferSchema": _PARSE_IT,
    "addRecordTimestamp": "the column approximateArrivalTimestamp has the time of arrival",
    "emitConsumerLagMetrics": "the query's progress has millisBehindLatest of each shard",
    "consumerRefreshInterval": "subscriptions are renewed as they end",
    "maxShardsPerDescribe": "shards are listed whole, in as many pages as the service makes of them",
    "coalesceThresholdBlockSize": "records reach Spark as Arrow batches, and are not kept in blocks",
    "coalesceBinSize": "records reach Spark as Arrow batches, and are not kept in blocks",
    "kinesis.getRecords.numberOfRecordsPerFetch": _BY_THE_CALL,
    "maxRecordPerRead": _BY_THE_CALL,
    "maxRecordsPerFetch": _BY_THE_CALL,
    "kinesis.subscribeToShard.timeoutSec": _NEVER_WAITED_FOR,
    "kinesis.subscribeToShard.maxRetries": _NEVER_WAITED_FOR,
    "requireConsumerDeregistration": _CLEANED_UP,
    "registerConsumerTimeoutInterval": "a consumer that is not ACTIVE after two minutes is an error",
    "kinesis.internal.avoidEmptyBatches": _NO_EMPTY_BATCHES,
    "avoidEmptyBatches": _NO_EMPTY_BATCHES,
}
"""By option of another connector that needs none here, the reason."""

_SECRETS = {
    "awsaccesskey",
    "awssecretkey",
    "awsaccesskeyid",
    "awssecretaccesskey",
    "awssessiontoken",
    "sessiontoken",
    "accesskey",
    "accesskeyid",
    "secretkey",
    "secretaccesskey",
}


def is_secret(name: str) -> bool:
    """Whether an option of that name would hold a credential."""
    return name.lower().removeprefix("kinesis.").replace("_", "").replace(".", "") in _SECRETS


def advice(name: str) -> str | None:
    """In one sentence, what to do about an option that another connector has; None for any other name."""
    return _ADVICE.get(name.lower())


_ADVICE = {
    **{name.lower(): f"{name} is {ours} here" for name, ours in FOREIGN.items()},
    **{name.lower(): f"{name} is not needed here: {why}" for name, why in NEEDLESS.items()},
}
