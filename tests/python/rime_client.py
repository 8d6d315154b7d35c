"""A client of Rime's sockets that is not ours (PyPI `livekit-plugins-rime`) against the fake vendor:
`rime_client.py URL KEY`.

`/ws3` and v1, two turns each. The audio is checked against the fake's watermark, so a fake that only pleases
our own codecs does not pass.
"""

import asyncio
import sys

import aiohttp
from livekit.plugins import rime

from watermark import watermark

PIECES = ["Hello there. ", "How are ", "you today?"]
# What the client makes of the text: whole sentences, each with a space behind it.
SENT = "Hello there. How are you today? "


async def turn(voice):
    async with voice.stream() as stream:
        for piece in PIECES:
            stream.push_text(piece)
        stream.end_input()
        heard = b""
        async for event in stream:
            heard += bytes(event.frame.data)
        return heard


async def main():
    url, key = sys.argv[1:]
    async with aiohttp.ClientSession() as session:
        common = {"api_key": key, "speaker": "cove", "sample_rate": 24000, "http_session": session,
                  "allow_custom_endpoint": True}
        older = rime.TTS(base_url=url, model="mistv3", use_websocket=True, segment="never", **common)
        newer = rime.TTS(websocket_url=f"{url}/ws", websocket_protocol="json", model="mistv3",
                         audio_format="audio/pcm", **common)
        for voice in [older, newer]:
            for _ in range(2):
                heard = await turn(voice)
                wanted = watermark(SENT)
                # Silence may be put behind a turn to fill its last frame.
                assert heard[: len(wanted)] == wanted or heard == watermark(SENT.strip()), (voice, len(heard))
            await voice.aclose()
    print("ok")


asyncio.run(main())
