package clients;

import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.CountDownLatch;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** The Kinesis Client Library: it prints each record, until it has seen so many. Its leases are in a DynamoDB. */
final class Kcl {
    private Kcl() {
    }

    static void run(String endpoint, String stream, String dynamodb, boolean fanOut, int count) throws Exception {
        var kinesis = Sdk.asyncClient(URI.create(endpoint));
        var leases = DynamoDbAsyncClient.builder().endpointOverride(URI.create(dynamodb)).region(Region.US_EAST_1)
                .credentialsProvider(Sdk.credentials()).build();
        var metrics = CloudWatchAsyncClient.builder().region(Region.US_EAST_1)
                .credentialsProvider(Sdk.credentials()).build();
        var seen = new CountDownLatch(count);
        var tracker = new SingleStreamTracker(stream,
                InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON));
        var configs = new ConfigsBuilder(tracker, "kcl-" + UUID.randomUUID(), kinesis, leases, metrics,
                UUID.randomUUID().toString(), () -> new Processor(seen));
        var retrieval = configs.retrievalConfig().retrievalSpecificConfig(
                fanOut ? new FanOutConfig(kinesis).streamName(stream).applicationName("kcl")
                        : new PollingConfig(stream, kinesis));
        var scheduler = new Scheduler(configs.checkpointConfig(), configs.coordinatorConfig(),
                configs.leaseManagementConfig(), configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()), configs.processorConfig(), retrieval);
        var thread = new Thread(scheduler);
        thread.setDaemon(true);
        thread.start();
        seen.await();
        System.out.println("stopped " + scheduler.startGracefulShutdown().get(5, TimeUnit.MINUTES));
    }

    private record Processor(CountDownLatch seen) implements ShardRecordProcessor {
        @Override
        public void initialize(InitializationInput input) {
            System.out.println("shard " + input.shardId());
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            input.records().forEach(record -> {
                System.out.println("record " + StandardCharsets.UTF_8.decode(record.data()));
                seen.countDown();
            });
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            System.out.println("lost");
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            try {
                input.checkpointer().checkpoint();
            } catch (ShutdownException | InvalidStateException error) {
                throw new IllegalStateException(error);
            }
            System.out.println("shard ended");
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            try {
                input.checkpointer().checkpoint();
            } catch (ShutdownException | InvalidStateException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
