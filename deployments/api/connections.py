"""What the server under Serve's proxy makes of a connection: HTTP/1.1, also where a client offers something else.

A client may offer to go on in another protocol, and still sends its whole request: every stock Java HttpClient and
`curl --http2` offer HTTP/2 (RFC 7540, section 3.2). A server may pass that over (RFC 9110, section 7.8). uvicorn's
parser stops behind the head of such a request, so that the body is lost; here the head is read again without the offer.

A client may also close its side when it has asked, and wait for the answer (RFC 9293, section 3.6). One that has left
looks the same until something is sent: only then its machine says that nobody is there. uvicorn takes both for left.
"""

import json
import uuid

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deployments.api.errors import answer_with

OFFERS = (b"upgrade", b"http2-settings")  # header fields, and what `Connection` says of them
# What a connection begins with that speaks something else → what to do.
OTHERS = {
    b"PRI * HTTP/2": "This port speaks HTTP/1.1, and this is HTTP/2: let the client speak HTTP/1.1.",
    b"\x16\x03": "This port speaks plain HTTP, and this is TLS: begin the address with http://.",
    b"CONNECT ": "This is no proxy: there is nothing to CONNECT to.",
}
NO_REQUEST = "This is no HTTP request."
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"  # what every client passes over (RFC 9110, section 15.2)
PROCESSING_AFTER_S = (0.0, 0.25, 1.0, 5.0, 30.0)  # the second fails where nobody is there; Go's clients bear no sixth


class Http1(HttpToolsProtocol):
    """uvicorn's protocol, which passes over every offer to leave HTTP/1.1, websockets too: there are none here."""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        left = memoryview(data)
        try:
            while left:
                try:
                    self.parser.feed_data(left)
                    break
                except httptools.HttpParserUpgrade as offer:
                    left = left[offer.args[0] :]
                    self._read_head_again()
        except httptools.HttpParserError:
            said = [what for begin, what in OTHERS.items() if data.startswith(begin)]
            self.send_400_response((said or [NO_REQUEST])[0])

    def eof_received(self) -> bool | None:
        """Keeps the connection of a client that has closed its side for its answer, and finds out whether it waits."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_started or self.pipeline or self.scheme != "http":
            return None  # there is nothing to wait for, or no way to find out: ended
        if self.scope["http_version"] != "1.1":
            return None
        cycle.keep_alive = False
        self._say_processing(cycle, PROCESSING_AFTER_S)
        return True

    def _say_processing(self, cycle: RequestResponseCycle, after_s: tuple[float, ...]) -> None:
        if cycle.response_started or self.transport.is_closing():
            return
        self.transport.write(PROCESSING)
        if later := after_s[1:]:
            self.loop.call_later(later[0] - after_s[0], self._say_processing, cycle, later)

    def _should_upgrade(self) -> bool:
        return True  # so that nothing is done with a head that will be read again

    def _read_head_again(self) -> None:
        """Gives the head that was just read to a new parser, which then waits for the body.

        Raises:
          HttpParserError: the method itself leaves HTTP.
        """
        if self.scope["method"] == "CONNECT":
            raise httptools.HttpParserError
        version = self.parser.get_http_version()
        lines = [f"{self.scope['method']} ".encode() + self.url + f" HTTP/{version}".encode()]
        for name, value in self.headers:
            if name == b"connection":
                value = b",".join(word for word in value.split(b",") if word.strip().lower() not in OFFERS)
            if name not in OFFERS:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the one before
        self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    def send_400_response(self, msg: str) -> None:
        """Answers what is no request, in the envelope of all errors, and ends the connection."""
        body = json.dumps(answer_with(400, msg).envelope).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {uuid.uuid4()}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
