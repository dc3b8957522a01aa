"""Makes one call with Python's grpcio, and prints what it has seen of it as JSON.

    python tests/peers/grpc_call.py 127.0.0.1:50051 /words.Words/Split 'one two three'

A message is words.proto's Text: a string as its field 1. One answer or a stream of them, it makes no
difference here.
"""

import json
import sys

import grpc


def encode(text):
    data = text.encode()
    assert len(data) < 128, "its length is one byte"
    return bytes([0x0A, len(data)]) + data


def decode(message):
    assert message[:2] == bytes([0x0A, len(message) - 2]), message
    return message[2:].decode()


target, method, text = sys.argv[1:]
with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
    call = channel.unary_stream(method, encode, decode)(text)
    words = []
    try:
        words.extend(call)
    except grpc.RpcError:
        pass  # What it says is asked for below.
    seen = {
        "words": words,
        "code": call.code().value[0],
        "details": call.details(),
        "trailers": dict(call.trailing_metadata()),
    }
print(json.dumps(seen))
