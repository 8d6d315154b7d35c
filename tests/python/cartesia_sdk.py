"""The vendor's own client (PyPI `cartesia`) against the fake vendor: `cartesia_sdk.py URL KEY`.

Turns on one socket: pushed piece by piece, with word times, cancelled, and one more. The audio is checked
against the fake's watermark, so a fake that only pleases our own codec does not pass.
"""

import sys

from cartesia import Cartesia
from watermark import watermark

VOICE = {"mode": "id", "id": "a0e99841-438c-4a64-b679-ae501e7d6091"}
FORMAT = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000}


def settings(**more):
    return {"model_id": "sonic-3", "voice": VOICE, "output_format": FORMAT, "language": "en", **more}


def pushed(connection):
    context = connection.context()
    for text in ["Hello, ", "world."]:
        context.send(**settings(transcript=text, **{"continue_": True}))
    context.no_more_inputs()
    heard = b"".join(event.audio for event in context.receive() if event.type == "chunk")
    assert heard == watermark("Hello, world."), len(heard)


def timed(connection):
    context = connection.context()
    context.send(**settings(transcript="One two.", add_timestamps=True, **{"continue_": False}))
    words, heard = [], b""
    for event in context.receive():
        if event.type == "timestamps":
            words += event.word_timestamps.words
        elif event.type == "chunk":
            heard += event.audio
    assert words == ["One", "two."], words
    assert heard == watermark("One two."), len(heard)


def cancelled(connection):
    context = connection.context()
    context.send(**settings(transcript="Never spoken", **{"continue_": True}))
    context.cancel()
    # The client forgets a cancelled context at once and would take its late `done` for the next one's.
    late = [connection.recv()]
    while late[-1].type != "done":
        late.append(connection.recv())
    assert all(event.context_id == late[0].context_id for event in late), late


def main():
    url, key = sys.argv[1:]
    client = Cartesia(api_key=key, websocket_base_url=url)
    with client.tts.websocket_connect() as connection:
        pushed(connection)
        timed(connection)
        cancelled(connection)
        pushed(connection)
    print("ok")


main()
