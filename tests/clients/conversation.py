"""A whole conversation by the PyPI client `websockets`: `conversation.py URL KEY CHAPTER FRAMES`.

The whole chapter is spoken in the frames named last, its beginning in the others.

Prints one JSON object of what happened. It judges nothing: whoever started it does.
"""

import asyncio
import base64
import json
import struct
import sys
import urllib.error
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.version import version

TOKEN = 4  # characters, as a language model's tokens have in the mean
PCM = {"encoding": "pcm_s16le", "sample_rate": 16000}  # the embedded voice's own
MULAW = {"encoding": "mulaw", "sample_rate": 8000}
LAST = 1  # the flag of a stream's last tagged frame
TAG = struct.Struct(">HHQ")


class Turn:
    """What was heard of one stream."""

    def __init__(self, name):
        self.name, self.index, self.end = name, None, asyncio.Event()
        self.heard = {
            "text": 0, "tokens": 0, "frames": 0, "audio": 0, "misplaced": 0, "last": 0, "late": 0,
            "marks": [], "words": 0, "backwards": 0, "estimated": None, "before_end": False, "ended_by": None,
        }
        self.first, self.sent_all, self.word_at = asyncio.Event(), False, 0

    def audio(self, length, position):
        self.heard["frames"] += 1
        self.heard["late"] += self.end.is_set()
        self.heard["misplaced"] += position not in (None, self.heard["audio"])
        self.heard["audio"] += length
        self.heard["before_end"] |= not self.sent_all
        self.first.set()

    def words(self, message):
        for word in message["words"]:
            self.heard["backwards"] += not self.word_at <= word["start_ms"] <= word["end_ms"]
            self.word_at = word["start_ms"]
        self.heard["words"] += len(message["words"])
        self.heard["estimated"] = message["estimated"]


class Session:
    """One connection: what comes goes to its turn, the rest to a queue."""

    def __init__(self, socket):
        self.socket, self.turns, self.others, self.order = socket, [], asyncio.Queue(), []
        self.reader = asyncio.create_task(self.read())

    async def send(self, kind, **fields):
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def read(self):
        try:
            async for message in self.socket:
                self.binary(message) if isinstance(message, bytes) else self.text(json.loads(message))
        except ConnectionClosed:
            pass

    def binary(self, data):
        turn = self.turns[-1]
        if turn.tagged:
            index, flags, position = TAG.unpack_from(data)
            turn = next(turn for turn in self.turns if turn.index == index)
            turn.heard["last"] += flags & LAST
            turn.audio(len(data) - TAG.size, position)
        else:
            turn.audio(len(data), None)
        self.order.append(turn.name)

    def text(self, message):
        kind, name = message["type"], message.get("stream")
        turn = next((turn for turn in reversed(self.turns) if turn.name == name), None)
        if turn is None:
            self.others.put_nowait(message)
        elif kind == "audio":
            turn.audio(len(base64.b64decode(message["audio"], validate=True)), message["position"])
        elif kind == "words":
            turn.words(message)
        elif kind == "flushed":
            turn.heard["marks"].append(message.get("mark"))
        elif kind == "started":
            turn.index, turn.heard["started"] = message["index"], message
        else:
            turn.heard["ended_by"], turn.heard["end"] = kind, message
            turn.end.set()

    async def start(self, name, **fields):
        turn = Turn(name)
        turn.tagged = fields.get("frames") == "tagged"
        self.turns.append(turn)
        await self.send("start", stream=name, voice=fields.pop("voice", "default"), **fields)
        return turn

    async def speak(self, turn, paragraphs, end=True):
        """Token by token; each paragraph ends with a flush and its mark, the first is heard before more is said."""
        for number, paragraph in enumerate(paragraphs):
            for at in range(0, len(paragraph), TOKEN):
                await self.send("text", stream=turn.name, text=paragraph[at : at + TOKEN])
                turn.heard["tokens"] += 1
            turn.heard["text"] += len(paragraph)
            if number + 1 < len(paragraphs):
                await self.send("flush", stream=turn.name, mark=f"paragraph {number}")
                await turn.first.wait()
        turn.sent_all = True
        if end:
            await self.send("end", stream=turn.name)

    async def close(self):
        await self.socket.close(1000, "bye")
        await self.reader
        return self.socket.close_code


async def whole_turn(url, key, paragraphs, **fields):
    """One turn on a session of its own."""
    session = Session(await connect(url, additional_headers={"Authorization": f"Bearer {key}"}))
    ready = await session.others.get()
    turn = await session.start("chapter", **fields)
    await session.speak(turn, paragraphs)
    await turn.end.wait()
    return {**turn.heard, "ready": ready, "closed": await session.close()}


async def two_at_once(session, paragraphs):
    turns = [await session.start(name, frames="tagged") for name in ("left", "right")]
    session.order.clear()
    await asyncio.gather(*(session.speak(turn, paragraphs) for turn in turns))
    await asyncio.gather(*(turn.end.wait() for turn in turns))
    switches = sum(a != b for a, b in zip(session.order, session.order[1:]))
    return {"turns": [turn.heard for turn in turns], "switches": switches}


async def barge_in(session, paragraphs):
    """Cancelled while it speaks; the next turn has the same name."""
    turn = await session.start("turn", frames="tagged")
    await session.speak(turn, paragraphs, end=False)
    await turn.first.wait()
    await session.send("cancel", stream="turn", played_ms=120)
    await turn.end.wait()
    following = await session.start("turn", frames="tagged")
    await session.speak(following, ["As I was saying."])
    await following.end.wait()
    return {"cancelled": turn.heard, "next": following.heard}


async def refusals(session, streams):
    unknown = await session.start("nobody", voice="no-such-voice")
    await unknown.end.wait()
    many = [await session.start(f"many-{number}", frames="tagged") for number in range(streams + 1)]
    await many[-1].end.wait()
    for turn in many[:-1]:
        await session.send("cancel", stream=turn.name)
        await turn.end.wait()
    await session.send("text", stream="gone", text="x")
    await session.send("shout")
    others = [await session.others.get() for _ in range(2)]
    return {"unknown_voice": unknown.heard["end"], "quota": many[-1].heard["end"],
            "unknown_stream": others[0], "unknown_type": others[1]}


async def first_frame(url, key, streams, paragraphs):
    """The key in the first frame, and everything pipelined behind it."""
    session = Session(await connect(url))
    await session.send("auth", token=key)
    early = await session.start("early", frames="json")
    await session.speak(early, ["Not waiting for anybody."])
    facts = {"ready": await session.others.get()}
    await early.end.wait()
    facts["early"] = early.heard
    facts["two"] = await two_at_once(session, paragraphs[:3])
    facts["barge_in"] = await barge_in(session, paragraphs[:6])
    facts["refusals"] = await refusals(session, streams)
    facts["closed"] = await session.close()
    return facts


async def bad_key(url):
    try:
        await connect(url, additional_headers={"Authorization": "Bearer sk-nonsense"})
    except InvalidStatus as refused:
        answer = refused.response
        return {"status": answer.status_code, "asks": answer.headers.get("WWW-Authenticate"),
                "kind": answer.headers.get("Content-Type"), "problem": json.loads(answer.body)}


async def once(url, **options):
    """What a single-use token opens: the first message, and the close code."""
    socket = await connect(url, **options)
    first = json.loads(await socket.recv())
    if first["type"] == "ready":
        await socket.close(1000)
    await socket.wait_closed()
    return {"first": first, "protocol": socket.subprotocol, "closed": socket.close_code}


async def tokens(http, url, key):
    def offered():
        return ["voxrelay.v1", f"bearer.{token}"]

    token = json.loads(post(http, "/v1/tokens", key, {"expires_in": 30, "uses": 1})[2])["token"]
    facts = {"protocol": [await once(url, subprotocols=offered()), await once(url, subprotocols=offered())]}
    token = json.loads(post(http, "/v1/tokens", key, {})[2])["token"]
    query = f"{url}?token={token}"
    return {**facts, "query": [await once(query), await once(query)]}


def post(http, path, key, fields):
    request = urllib.request.Request(http + path, json.dumps(fields).encode(), headers(key))
    with urllib.request.urlopen(request) as answer:
        pieces = []
        while piece := answer.read1(64 * 1024):
            pieces.append(piece)
        return answer.status, answer.headers, b"".join(pieces), len(pieces)


def headers(key):
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def over_http(http, key, text):
    status, head, audio, pieces = post(http, "/v1/speech", key, {"voice": "default", "text": text})
    facts = {"speech": {"status": status, "kind": head["Content-Type"], "request_id": head["X-Request-Id"],
                        "chunked": head["Transfer-Encoding"], "audio": len(audio), "pieces": pieces}}
    with urllib.request.urlopen(urllib.request.Request(http + "/v1/me", headers=headers(key))) as answer:
        return {**facts, "me": json.load(answer)}


async def main():
    http, key, chapter, whole = sys.argv[1:]
    url = http.replace("http", "ws", 1) + "/v1/stream"
    with open(chapter, encoding="utf-8") as file:
        text = file.read()
    breaks = text.split("\n\n")
    paragraphs = [part + "\n\n" for part in breaks[:-1]] + breaks[-1:]
    part = {frames: paragraphs if frames == whole else paragraphs[:5] for frames in ("json", "tagged", "raw")}
    limits = (await whole_turn(url, key, ["A short one."]))["ready"]["limits"]
    facts = {
        "client": f"websockets {version}",
        "text": len(text),
        "bad_key": await bad_key(url),
        "json": await whole_turn(url, key, part["json"], frames="json", words=True, format=PCM),
        "tagged": await whole_turn(url, key, part["tagged"], frames="tagged", format=PCM),
        "raw": await whole_turn(url, key, part["raw"], words=True, format=MULAW),
        "first_frame": await first_frame(url, key, limits["streams"], paragraphs),
        "tokens": await tokens(http, url, key),
        **over_http(http, key, paragraphs[1]),
    }
    print(json.dumps(facts))


asyncio.run(main())
