"""The vendor's own client (PyPI `fish-audio-sdk`) against the fake vendor: `fish_audio.py URL KEY`.

Text pushed piece by piece and flushed, on the new client and on the old one of the same package. The audio is
checked against the fake's watermark, so a fake that only pleases our own codec does not pass.
"""

import sys

from fish_audio_sdk import TTSRequest, WebSocketSession
from fishaudio import FishAudio
from fishaudio.exceptions import WebSocketError
from fishaudio.types import FlushEvent

from watermark import watermark

PIECES = ["Hello, ", "world. ", "A sentence that is long enough to be spoken before anybody asks for it, ", "bye."]


def pushed(client):
    pieces = [PIECES[0], FlushEvent(), *PIECES[1:]]
    heard = b"".join(client.tts.stream_websocket(pieces, format="pcm", reference_id="v", speed=1.2))
    assert heard == watermark("".join(PIECES)), len(heard)


def legacy(url, key):
    with WebSocketSession(key, base_url=url) as session:
        request = TTSRequest(text="", format="pcm", reference_id="v")
        heard = b"".join(session.tts(request, iter(PIECES)))
    assert heard == watermark("".join(PIECES)), len(heard)


def refused(url):
    try:
        list(FishAudio(api_key="wrong", base_url=url).tts.stream_websocket(["x"]))
    except WebSocketError:
        raise AssertionError("a wrong key is told before the socket opens")
    except Exception as refusal:
        assert "401" in repr(refusal) or "401" in str(getattr(refusal, "response", "")), repr(refusal)
    else:
        raise AssertionError("a wrong key is let in")


def main():
    url, key = sys.argv[1:]
    url = url.replace("ws://", "http://")
    with FishAudio(api_key=key, base_url=url) as client:
        pushed(client)
        pushed(client)
    legacy(url, key)
    refused(url)
    print("ok")


main()
