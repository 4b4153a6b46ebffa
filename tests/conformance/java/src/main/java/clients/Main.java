package clients;

import java.util.Arrays;
import java.util.List;

/** Runs one client against an endpoint: {@code CLIENT ENDPOINT STREAM …}. What it sees it prints, a line each. */
public final class Main {
    private Main() {
    }

    public static void main(String[] arguments) throws Exception {
        String endpoint = arguments[1];
        String stream = arguments[2];
        List<String> rest = Arrays.asList(arguments).subList(3, arguments.length);
        switch (arguments[0]) {
            case "sync" -> new Sdk(endpoint, stream).sync(rest);
            case "async" -> new Sdk(endpoint, stream).async(rest);
            case "subscribe" -> new Sdk(endpoint, stream).subscribe();
            case "v1" -> SdkV1.run(endpoint, stream, rest);
            case "kpl" -> Kpl.run(endpoint, stream, Integer.parseInt(rest.get(0)));
            case "kcl" -> Kcl.run(endpoint, stream, rest.get(0), rest.get(1).equals("fan-out"),
                    Integer.parseInt(rest.get(2)));
            default -> throw new IllegalArgumentException("there is no client " + arguments[0]);
        }
        System.exit(0);
    }
}
