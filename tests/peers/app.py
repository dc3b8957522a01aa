"""The application that the Python server serves: what it was sent, told back."""

import json

ETAG = b'"one"'


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    route = ROUTES.get(scope["path"], missing)
    await route(scope, receive, send)


async def begin(send, status, headers=(), trailers=False):
    start = {"type": "http.response.start", "status": status, "headers": list(headers)}
    await send(start | ({"trailers": True} if trailers else {}))


async def body(send, piece=b"", more=False):
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def seen(scope, receive, send):
    """The version and the fields of the request, as JSON."""
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    text = json.dumps({"version": scope["http_version"], "method": scope["method"], "fields": fields})
    length = str(len(text)).encode()
    await begin(send, 200, [(b"content-type", b"application/json"), (b"content-length", length)])
    await body(send, text.encode())


async def echo(scope, receive, send):
    """The body, piece by piece while it comes, with no length told."""
    await begin(send, 200, [(b"content-type", b"application/octet-stream")])
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more = event.get("more_body", False)
        await body(send, event.get("body", b""), more=True)
    await body(send)


async def empty(scope, receive, send):
    await begin(send, 204)
    await body(send)


async def tagged(scope, receive, send):
    """One page with an entity tag: 304 to who has it."""
    if (b"if-none-match", ETAG) in scope["headers"]:
        await begin(send, 304, [(b"etag", ETAG)])
        await body(send)
    else:
        await begin(send, 200, [(b"etag", ETAG), (b"content-length", b"5")])
        await body(send, b"" if scope["method"] == "HEAD" else b"hello")


async def page(scope, receive, send):
    await begin(send, 200, [(b"content-length", b"5")])
    await body(send, b"hello")


async def trailed(scope, receive, send):
    """A page with trailers, which Hypercorn sends over HTTP/2."""
    await begin(send, 200, [(b"trailer", b"x-sum")], trailers=True)
    await body(send, b"hello")
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})


async def missing(scope, receive, send):
    await begin(send, 404, [(b"content-length", b"0")])
    await body(send)


ROUTES = {"/seen": seen, "/echo": echo, "/empty": empty, "/tagged": tagged, "/trailed": trailed, "/page.txt": page}
