"""The vendor's own client (PyPI `elevenlabs`) against the fake vendor: `elevenlabs_sdk.py URL KEY`.

It speaks `stream-input` only, and only over TLS: a proxy with a certificate of its own making stands in
front of the fake. The audio is checked against the fake's watermark, so a fake that only pleases our own
codec does not pass.
"""

import os
import socket
import ssl
import sys
import tempfile
import threading
from urllib.parse import urlparse

import trustme
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.types import VoiceSettings
from watermark import watermark


def proxy(address):
    """Accepts TLS and passes on what is in it; gives back its port."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(authority.cert_pem.bytes())
    os.environ["SSL_CERT_FILE"] = file.name
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def serve():
        while True:
            tcp, _ = listener.accept()
            client = context.wrap_socket(tcp, server_side=True)
            server = socket.create_connection(address)
            for ends in [(client, server), (server, client)]:
                threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], file.name


def speak(client, texts, **more):
    chunks = client.text_to_speech.convert_realtime(
        "21m00Tcm4TlvDq8ikWAM",
        text=iter(texts),
        model_id="eleven_flash_v2_5",
        output_format="pcm_24000",
        **more,
    )
    return b"".join(chunks)


def main():
    url, key = sys.argv[1:]
    address = urlparse(url)
    port, certificate = proxy((address.hostname, address.port))
    try:
        client = ElevenLabs(api_key=key, base_url=f"https://localhost:{port}")
        # The client sends whole words, each with a space behind it.
        for texts in [["Hello, ", "world."], ["And again, more than fifty characters of text in one go."]]:
            heard = speak(client, texts)
            assert heard == watermark("".join(texts) + " "), len(heard)
        settings = VoiceSettings(stability=0.5, similarity_boost=0.75)
        heard = speak(client, ["Other settings."], voice_settings=settings)
        assert heard == watermark("Other settings. "), len(heard)
        try:
            speak(ElevenLabs(api_key="wrong", base_url=f"https://localhost:{port}"), ["x"])
        except Exception as error:
            assert not isinstance(error, (AssertionError, ApiError)), error
        else:
            raise AssertionError("a wrong key was let in")
    finally:
        os.unlink(certificate)
    print("ok")


main()
