"""The vendor's own client (PyPI `deepgram-sdk`) against the fake vendor: `deepgram_sdk.py URL KEY`.

On `v1` two turns and a cleared one on one socket, on `v2` a turn. The audio is checked against the fake's
watermark, so a fake that only pleases our own codec does not pass.
"""

import sys

from deepgram import DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak
from watermark import watermark


def until(connection, kind):
    heard = b""
    while True:
        message = connection.recv()
        if isinstance(message, bytes):
            heard += message
        elif message.type == kind:
            return heard


def aura(client):
    with client.speak.v1.connect(
        model="aura-2-thalia-en", encoding="linear16", sample_rate="24000"
    ) as connection:
        until(connection, "Metadata")
        for texts in [["Hello, ", "world."], ["And again."]]:
            for text in texts:
                connection.send_text(SpeakV1Text(text=text))
            connection.send_flush()
            heard = until(connection, "Flushed")
            assert heard == watermark("".join(texts)), len(heard)
        connection.send_text(SpeakV1Text(text="Never spoken"))
        connection.send_clear()
        assert until(connection, "Cleared") == b""
        connection.send_close()


def flux(client):
    with client.speak.v2.connect(
        model="flux-alexis-en", encoding="linear16", sample_rate="24000"
    ) as connection:
        until(connection, "Connected")
        connection.send_speak(SpeakV2Speak(text="Hello, world."))
        connection.send_flush()
        heard = until(connection, "SpeechMetadata")
        assert heard == watermark("Hello, world."), len(heard)
        connection.send_close()
        until(connection, "SessionMetadata")


def main():
    url, key = sys.argv[1:]
    http = url.replace("ws://", "http://")
    environment = DeepgramClientEnvironment(base=http, production=url, agent=url, agent_rest=http)
    client = DeepgramClient(api_key=key, environment=environment)
    aura(client)
    flux(client)
    print("ok")


main()
