package clients;

import java.net.URI;
import java.time.Instant;
import java.util.HexFormat;
import java.util.List;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/** The AWS SDK for Java v2 with its defaults: it puts what it is told in hex, reads it back, and prints what it sees. */
final class Sdk {
    private static final String SHARD = "shardId-000000000000";
    private final URI endpoint;
    private final String stream;

    Sdk(String endpoint, String stream) {
        this.endpoint = URI.create(endpoint);
        this.stream = stream;
    }

    static StaticCredentialsProvider credentials() {
        return StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
    }

    static KinesisAsyncClient asyncClient(URI endpoint) {
        return KinesisAsyncClient.builder()
                .endpointOverride(endpoint)
                .region(Region.US_EAST_1)
                .credentialsProvider(credentials())
                .build();
    }

    /** The synchronous client: Apache's over HTTP/1.1. */
    void sync(List<String> values) {
        try (var kinesis = KinesisClient.builder()
                .endpointOverride(endpoint)
                .region(Region.US_EAST_1)
                .credentialsProvider(credentials())
                .build()) {
            System.out.println("created " + kinesis.describeStreamSummary(b -> b.streamName(stream))
                    .streamDescriptionSummary().streamCreationTimestamp().toEpochMilli());
            System.out.println("failed " + kinesis.putRecords(put(values)).failedRecordCount());
            var iterator = kinesis.getShardIterator(b -> b.streamName(stream).shardId(SHARD)
                    .shardIteratorType(ShardIteratorType.AT_TIMESTAMP)
                    .timestamp(Instant.now().minusSeconds(3600))).shardIterator();
            print(kinesis.getRecords(b -> b.shardIterator(iterator)));
            try {
                kinesis.describeStreamSummary(b -> b.streamName("none"));
            } catch (RuntimeException error) {
                System.out.println("error " + error.getClass().getSimpleName());
            }
        }
    }

    /** The asynchronous client: Netty's over HTTP/2. */
    void async(List<String> values) {
        try (var kinesis = asyncClient(endpoint)) {
            System.out.println("created " + kinesis.describeStreamSummary(b -> b.streamName(stream)).join()
                    .streamDescriptionSummary().streamCreationTimestamp().toEpochMilli());
            System.out.println("failed " + kinesis.putRecords(put(values)).join().failedRecordCount());
            var iterator = kinesis.getShardIterator(b -> b.streamName(stream).shardId(SHARD)
                    .shardIteratorType(ShardIteratorType.AT_TIMESTAMP)
                    .timestamp(Instant.now().minusSeconds(3600))).join().shardIterator();
            print(kinesis.getRecords(b -> b.shardIterator(iterator)).join());
            try {
                kinesis.describeStreamSummary(b -> b.streamName("none")).join();
            } catch (RuntimeException error) {
                System.out.println("error " + error.getCause().getClass().getSimpleName());
            }
        }
    }

    /** SubscribeToShard from the trim horizon, until the shard or the subscription ends. */
    void subscribe() throws InterruptedException {
        try (var kinesis = asyncClient(endpoint)) {
            var arn = kinesis.describeStreamSummary(b -> b.streamName(stream)).join()
                    .streamDescriptionSummary().streamARN();
            var consumer = kinesis.registerStreamConsumer(b -> b.streamARN(arn).consumerName("java")).join()
                    .consumer().consumerARN();
            while (kinesis.describeStreamConsumer(b -> b.consumerARN(consumer)).join()
                    .consumerDescription().consumerStatus() != ConsumerStatus.ACTIVE) {
                Thread.sleep(20);
            }
            var visitor = SubscribeToShardResponseHandler.Visitor.builder()
                    .onSubscribeToShardEvent(Sdk::print)
                    .build();
            var handler = SubscribeToShardResponseHandler.builder()
                    .onResponse(response -> System.out.println("subscribed " + response.responseMetadata().requestId()))
                    .onError(error -> System.out.println("error " + error))
                    .subscriber(visitor)
                    .build();
            kinesis.subscribeToShard(
                    b -> b.consumerARN(consumer).shardId(SHARD).startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)),
                    handler).join();
            System.out.println("ended");
        }
    }

    private PutRecordsRequest put(List<String> values) {
        var records = values.stream().map(value -> PutRecordsRequestEntry.builder()
                .data(SdkBytes.fromByteArray(HexFormat.of().parseHex(value))).partitionKey("key").build()).toList();
        return PutRecordsRequest.builder().streamName(stream).records(records).build();
    }

    private static void print(GetRecordsResponse answer) {
        answer.records().forEach(Sdk::print);
        System.out.println("behind " + answer.millisBehindLatest());
    }

    private static void print(SubscribeToShardEvent event) {
        event.records().forEach(Sdk::print);
        event.childShards().forEach(child -> System.out.println("child " + child.shardId()));
    }

    private static void print(Record record) {
        System.out.println(String.join(" ", "record", HexFormat.of().formatHex(record.data().asByteArray()),
                record.sequenceNumber(), String.valueOf(record.approximateArrivalTimestamp().toEpochMilli())));
    }
}
