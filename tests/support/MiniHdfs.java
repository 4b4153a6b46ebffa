import java.io.File;
import java.net.InetSocketAddress;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** A NameNode and a DataNode with WebHDFS on 127.0.0.1, in the folder of the first argument, until stdin ends. */
public class MiniHdfs {
    public static void main(String[] arguments) throws Exception {
        Configuration configuration = new Configuration();
        configuration.set(MiniDFSCluster.HDFS_MINIDFS_BASEDIR, new File(arguments[0]).getAbsolutePath());
        // How long a client waits when a block is not reported yet: 400 by default, on nearly every small file.
        configuration.setInt("dfs.client.block.write.locateFollowingBlock.initial.delay.ms", 10);
        MiniDFSCluster cluster = new MiniDFSCluster.Builder(configuration).numDataNodes(1).build();
        try {
            cluster.waitActive();
            InetSocketAddress http = cluster.getNameNode().getHttpAddress();
            System.out.println("webhdfs 127.0.0.1:" + http.getPort());
            System.out.flush();
            while (System.in.read() >= 0) {
                // Whoever started this closes the pipe at its end, however it ends.
            }
        } finally {
            cluster.shutdown(true);
        }
    }
}
