package clients;

import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.kinesis.AmazonKinesisClientBuilder;
import com.amazonaws.services.kinesis.model.AmazonKinesisException;
import com.amazonaws.services.kinesis.model.GetRecordsRequest;
import com.amazonaws.services.kinesis.model.GetShardIteratorRequest;
import com.amazonaws.services.kinesis.model.PutRecordsRequest;
import com.amazonaws.services.kinesis.model.PutRecordsRequestEntry;
import com.amazonaws.services.kinesis.model.DescribeStreamSummaryRequest;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.util.Date;
import java.util.HexFormat;
import java.util.List;

/** The AWS SDK for Java v1 with its defaults; it prints what {@link Sdk} prints. */
final class SdkV1 {
    private SdkV1() {
    }

    static void run(String endpoint, String stream, List<String> values) {
        var kinesis = AmazonKinesisClientBuilder.standard()
                .withEndpointConfiguration(new EndpointConfiguration(endpoint, "us-east-1"))
                .withCredentials(new AWSStaticCredentialsProvider(new BasicAWSCredentials("test", "test")))
                .build();
        System.out.println("created " + kinesis.describeStreamSummary(
                new DescribeStreamSummaryRequest().withStreamName(stream))
                .getStreamDescriptionSummary().getStreamCreationTimestamp().getTime());
        var records = values.stream().map(value -> new PutRecordsRequestEntry()
                .withData(ByteBuffer.wrap(HexFormat.of().parseHex(value))).withPartitionKey("key")).toList();
        System.out.println("failed " + kinesis.putRecords(
                new PutRecordsRequest().withStreamName(stream).withRecords(records)).getFailedRecordCount());
        var iterator = kinesis.getShardIterator(new GetShardIteratorRequest().withStreamName(stream)
                .withShardId("shardId-000000000000").withShardIteratorType("AT_TIMESTAMP")
                .withTimestamp(Date.from(Instant.now().minusSeconds(3600)))).getShardIterator();
        var answer = kinesis.getRecords(new GetRecordsRequest().withShardIterator(iterator));
        answer.getRecords().forEach(record -> System.out.println(String.join(" ", "record",
                HexFormat.of().formatHex(record.getData().array()), record.getSequenceNumber(),
                String.valueOf(record.getApproximateArrivalTimestamp().getTime()))));
        System.out.println("behind " + answer.getMillisBehindLatest());
        try {
            kinesis.describeStreamSummary(new DescribeStreamSummaryRequest().withStreamName("none"));
        } catch (AmazonKinesisException error) {
            System.out.println("error " + error.getClass().getSimpleName());
        }
    }
}
