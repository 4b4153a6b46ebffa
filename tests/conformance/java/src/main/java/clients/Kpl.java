package clients;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.net.URI;
import java.util.concurrent.ExecutionException;
import software.amazon.kinesis.producer.KinesisProducer;
import software.amazon.kinesis.producer.KinesisProducerConfiguration;
import software.amazon.kinesis.producer.UserRecordFailedException;
import software.amazon.kinesis.producer.UserRecordResult;
import com.google.common.util.concurrent.ListenableFuture;

/** The Kinesis Producer Library: it puts the numbers below {@code count}, aggregated as it does by default. */
final class Kpl {
    private Kpl() {
    }

    static void run(String endpoint, String stream, int count) throws InterruptedException {
        var url = URI.create(endpoint);
        var configuration = new KinesisProducerConfiguration()
                .setRegion("us-east-1")
                .setCredentialsProvider(Sdk.credentials())
                .setKinesisEndpoint(url.getHost())
                .setKinesisPort(url.getPort())
                .setVerifyCertificate(false)
                .setMetricsLevel("none");
        var producer = new KinesisProducer(configuration);
        List<ListenableFuture<UserRecordResult>> results = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            var data = ByteBuffer.wrap(String.valueOf(n).getBytes(StandardCharsets.UTF_8));
            results.add(producer.addUserRecord(stream, String.valueOf(n % 7), data));
        }
        producer.flushSync();
        int put = 0;
        for (var result : results) {
            try {
                put += result.get().isSuccessful() ? 1 : 0;
            } catch (ExecutionException error) {
                var why = error.getCause() instanceof UserRecordFailedException failed
                        ? failed.getResult().getAttempts().toString() : error.toString();
                System.out.println("error " + why);
            }
        }
        System.out.println("put " + put);
        producer.destroy();
    }
}
