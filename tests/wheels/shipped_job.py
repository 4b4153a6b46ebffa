"""A job whose code came with ``--py-files``: streams and batches, read and written, and a restart.

Arguments: endpoint URL, a folder that all its processes share. Prints how many rows each step saw, as JSON.
"""

import json
import sys

import botocore.session
from pyspark.sql import SparkSession

from pyspark_kinesis import DefaultSource

url, folder = sys.argv[1:]
kinesis = botocore.session.get_session().create_client("kinesis", "us-east-1", endpoint_url=url)
kinesis.create_stream(StreamName="shipped", ShardCount=2)
records = [{"Data": str(n).encode(), "PartitionKey": str(n)} for n in range(100)]
kinesis.put_records(StreamName="shipped", Records=records)
spark = SparkSession.builder.getOrCreate()
spark.dataSource.register(DefaultSource)
there = {"streamName": "shipped", "endpointUrl": url}
seen = {"driver": sys.modules["pyspark_kinesis"].__file__}
frame = spark.readStream.format("kinesis").options(**there, ledgerLocation=f"{folder}/ledger").load()
for step in ("first", "restarted"):
    writer = frame.writeStream.format("parquet").option("path", f"{folder}/rows").trigger(availableNow=True)
    writer.option("checkpointLocation", f"{folder}/checkpoint").start().awaitTermination()
    seen[step] = spark.read.parquet(f"{folder}/rows").selectExpr("sequenceNumber").distinct().count()
again = spark.readStream.format("parquet").schema(frame.schema).load(f"{folder}/rows").select("data", "partitionKey")
sink = again.writeStream.format("kinesis").options(**there, checkpointLocation=f"{folder}/sink")
sink.trigger(availableNow=True).start().awaitTermination()
spark.range(10).selectExpr("CAST(id AS STRING) AS data").write.format("kinesis").mode("append").options(**there).save()
seen["batch"] = spark.read.format("kinesis").options(**there).load().count()
print("seen", json.dumps(seen))
