// Java's own HTTP client before a service: java JavaClient.java URL PICTURE. Prints a line for each request: what, status, begin of the body.
// Unless told otherwise this client offers HTTP/2 with every first request over a connection.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Collectors;

public class JavaClient {
  static final String JSON = "{\"prompt\": \"an avocado\", \"seed\": 3, \"response_format\": \"b64_json\"}";

  public static void main(String[] arguments) throws Exception {
    String url = arguments[0];
    byte[] picture = Files.readAllBytes(Path.of(arguments[1]));
    for (HttpClient.Version version : HttpClient.Version.values()) {
      String name = version.name();
      show(name + " length", send(version, post(url + "/v1/images/generations", "application/json", BodyPublishers.ofString(JSON))));
      BodyPublisher chunked = BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(JSON.getBytes(StandardCharsets.UTF_8)));
      show(name + " chunked", send(version, post(url + "/v1/images/generations", "application/json", chunked)));
      show(name + " expect", send(version, post(url + "/v1/images/generations", "application/json", BodyPublishers.ofString(JSON)).expectContinue(true)));
      show(name + " form", send(version, post(url + "/v1/images/variations", "multipart/form-data; boundary=b", BodyPublishers.ofByteArray(form(picture)))));
      show(name + " get", send(version, HttpRequest.newBuilder(URI.create(url + "/v1/models"))));
      show(name + " head", send(version, HttpRequest.newBuilder(URI.create(url + "/v1/models")).method("HEAD", BodyPublishers.noBody())));
      show(name + " refused", send(version, post(url + "/v1/images/generations", "application/json", BodyPublishers.ofString("{}"))));
      String streamed = JSON.replace("\"response_format\": \"b64_json\"", "\"stream\": true");
      var lines = client(version).send(post(url + "/v1/images/generations", "application/json", BodyPublishers.ofString(streamed)).build(), BodyHandlers.ofLines());
      System.out.println(name + " stream " + lines.statusCode() + " " + lines.body().filter(line -> line.startsWith("event:")).collect(Collectors.joining(",")));
    }
  }

  static HttpClient client(HttpClient.Version version) {
    return HttpClient.newBuilder().version(version).build();
  }

  static HttpRequest.Builder post(String url, String type, BodyPublisher body) {
    return HttpRequest.newBuilder(URI.create(url)).header("Content-Type", type).POST(body);
  }

  /** Two requests over one connection; gives the status and the begin of both answers, which are to be the same. */
  static String send(HttpClient.Version version, HttpRequest.Builder request) throws Exception {
    HttpClient client = client(version);
    String first = "";
    for (int i = 0; i < 2; i++) {
      var reply = client.send(request.timeout(Duration.ofSeconds(120)).build(), BodyHandlers.ofString());
      String seen = reply.statusCode() + " " + reply.body().substring(0, Math.min(9, reply.body().length()));
      if (i > 0 && !seen.equals(first)) throw new IllegalStateException(first + " and then " + seen);
      first = seen;
    }
    return first;
  }

  static void show(String what, String seen) {
    System.out.println(what + " " + seen.strip());
  }

  static byte[] form(byte[] picture) throws Exception {
    var form = new ByteArrayOutputStream();
    form.write("--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"p.png\"\r\n\r\n".getBytes());
    form.write(picture);
    form.write("\r\n--b--\r\n".getBytes());
    return form.toByteArray();
  }
}
