// A whole conversation by the npm client `ws`: `conversation.mjs URL KEY CHAPTER FRAMES`, with the folder
// of its package in VOXRELAY_TEST_NODE_PATH. The whole chapter is spoken in the frames named last, its
// beginning in the others.
//
// Prints one JSON object of what happened. It judges nothing: whoever started it does.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const require = createRequire(`${process.env.VOXRELAY_TEST_NODE_PATH}/`)
const WebSocket = require('ws')

const TOKEN = 4 // characters, as a language model's tokens have in the mean
const PCM = { encoding: 'pcm_s16le', sample_rate: 16000 } // the embedded voice's own
const MULAW = { encoding: 'mulaw', sample_rate: 8000 }
const LAST = 1 // the flag of a stream's last tagged frame
const TAG = 12 // bytes: u16 stream index, u16 flags, u64 position

const [http, key, chapter, whole] = process.argv.slice(2)
const url = `${http.replace('http', 'ws')}/v1/stream`
const bearer = { authorization: `Bearer ${key}` }

function latch() {
  let open
  const opened = new Promise((resolve) => { open = resolve })
  return { open, opened }
}

// What was heard of one stream.
class Turn {
  heard = {
    text: 0, tokens: 0, frames: 0, audio: 0, misplaced: 0, last: 0, late: 0,
    marks: [], words: 0, backwards: 0, estimated: null, before_end: false, ended_by: null,
  }
  first = latch()
  end = latch()
  over = false
  sentAll = false
  wordAt = 0

  constructor(name, tagged) {
    Object.assign(this, { name, tagged })
  }

  audio(length, position) {
    this.heard.frames += 1
    this.heard.late += this.over ? 1 : 0
    this.heard.misplaced += position === null || position === this.heard.audio ? 0 : 1
    this.heard.audio += length
    this.heard.before_end ||= !this.sentAll
    this.first.open()
  }

  words(message) {
    for (const word of message.words) {
      const forward = this.wordAt <= word.start_ms && word.start_ms <= word.end_ms
      this.heard.backwards += forward ? 0 : 1
      this.wordAt = word.start_ms
    }
    this.heard.words += message.words.length
    this.heard.estimated = message.estimated
  }
}

// One connection: what comes goes to its turn, the rest to a queue.
class Session {
  turns = []
  others = []
  waiting = []
  order = []

  constructor(options = {}) {
    this.socket = new WebSocket(url, options)
    this.opened = new Promise((resolve) => { this.socket.once('open', resolve) })
    this.closed = new Promise((resolve) => { this.socket.once('close', (code) => resolve(code)) })
    this.socket.on('message', (data, binary) => (binary ? this.binary(data) : this.text(JSON.parse(data))))
  }

  // Resolves when the bytes are with the system, so that what has come meanwhile is read.
  send(type, fields = {}) {
    return new Promise((resolve) => { this.socket.send(JSON.stringify({ type, ...fields }), resolve) })
  }

  binary(data) {
    let turn = this.turns.at(-1)
    if (turn.tagged) {
      const index = data.readUInt16BE(0)
      turn = this.turns.find((each) => each.index === index)
      turn.heard.last += data.readUInt16BE(2) & LAST
      turn.audio(data.length - TAG, Number(data.readBigUInt64BE(4)))
    } else {
      turn.audio(data.length, null)
    }
    this.order.push(turn.name)
  }

  text(message) {
    const turn = this.turns.findLast((each) => each.name === message.stream)
    if (!turn) {
      this.others.push(message)
      this.waiting.shift()?.()
    } else if (message.type === 'audio') {
      turn.audio(Buffer.from(message.audio, 'base64').length, message.position)
    } else if (message.type === 'words') {
      turn.words(message)
    } else if (message.type === 'flushed') {
      turn.heard.marks.push(message.mark)
    } else if (message.type === 'started') {
      turn.index = message.index
      turn.heard.started = message
    } else {
      Object.assign(turn.heard, { ended_by: message.type, end: message })
      turn.over = true
      turn.end.open()
    }
  }

  async other() {
    if (this.others.length === 0) await new Promise((resolve) => { this.waiting.push(resolve) })
    return this.others.shift()
  }

  async start(name, fields = {}) {
    const turn = new Turn(name, fields.frames === 'tagged')
    this.turns.push(turn)
    await this.send('start', { stream: name, voice: 'default', ...fields })
    return turn
  }

  // Token by token; each paragraph ends with a flush and its mark, the first is heard before more is said.
  async speak(turn, paragraphs, end = true) {
    for (const [number, paragraph] of paragraphs.entries()) {
      const letters = [...paragraph]
      for (let at = 0; at < letters.length; at += TOKEN) {
        await this.send('text', { stream: turn.name, text: letters.slice(at, at + TOKEN).join('') })
        turn.heard.tokens += 1
      }
      turn.heard.text += letters.length
      if (number + 1 < paragraphs.length) {
        await this.send('flush', { stream: turn.name, mark: `paragraph ${number}` })
        await turn.first.opened
      }
    }
    turn.sentAll = true
    if (end) await this.send('end', { stream: turn.name })
  }

  close() {
    this.socket.close(1000, 'bye')
    return this.closed
  }
}

// One turn on a session of its own.
async function wholeTurn(paragraphs, fields) {
  const session = new Session({ headers: bearer })
  const ready = await session.other()
  const turn = await session.start('chapter', fields)
  await session.speak(turn, paragraphs)
  await turn.end.opened
  return { ...turn.heard, ready, closed: await session.close() }
}

async function twoAtOnce(session, paragraphs) {
  const turns = []
  for (const name of ['left', 'right']) turns.push(await session.start(name, { frames: 'tagged' }))
  session.order.length = 0
  await Promise.all(turns.map((turn) => session.speak(turn, paragraphs)))
  await Promise.all(turns.map((turn) => turn.end.opened))
  const switches = session.order.filter((name, at) => at > 0 && name !== session.order[at - 1]).length
  return { turns: turns.map((turn) => turn.heard), switches }
}

// Cancelled while it speaks; the next turn has the same name.
async function bargeIn(session, paragraphs) {
  const turn = await session.start('turn', { frames: 'tagged' })
  await session.speak(turn, paragraphs, false)
  await turn.first.opened
  await session.send('cancel', { stream: 'turn', played_ms: 120 })
  await turn.end.opened
  const following = await session.start('turn', { frames: 'tagged' })
  await session.speak(following, ['As I was saying.'])
  await following.end.opened
  return { cancelled: turn.heard, next: following.heard }
}

async function refusals(session, streams) {
  const unknown = await session.start('nobody', { voice: 'no-such-voice' })
  await unknown.end.opened
  const many = []
  for (let number = 0; number <= streams; number += 1) {
    many.push(await session.start(`many-${number}`, { frames: 'tagged' }))
  }
  await many.at(-1).end.opened
  for (const turn of many.slice(0, -1)) {
    await session.send('cancel', { stream: turn.name })
    await turn.end.opened
  }
  await session.send('text', { stream: 'gone', text: 'x' })
  await session.send('shout')
  return {
    unknown_voice: unknown.heard.end,
    quota: many.at(-1).heard.end,
    unknown_stream: await session.other(),
    unknown_type: await session.other(),
  }
}

// The key in the first frame, and everything pipelined behind it.
async function firstFrame(streams, paragraphs) {
  const session = new Session()
  await session.opened
  await session.send('auth', { token: key })
  const early = await session.start('early', { frames: 'json' })
  await session.speak(early, ['Not waiting for anybody.'])
  const ready = await session.other()
  await early.end.opened
  return {
    ready,
    early: early.heard,
    two: await twoAtOnce(session, paragraphs.slice(0, 3)),
    barge_in: await bargeIn(session, paragraphs.slice(0, 6)),
    refusals: await refusals(session, streams),
    closed: await session.close(),
  }
}

function badKey() {
  const socket = new WebSocket(url, { headers: { authorization: 'Bearer sk-nonsense' } })
  return new Promise((resolve) => {
    socket.once('unexpected-response', async (_request, answer) => {
      const body = Buffer.concat(await answer.toArray())
      resolve({
        status: answer.statusCode,
        asks: answer.headers['www-authenticate'],
        kind: answer.headers['content-type'],
        problem: JSON.parse(body),
      })
    })
  })
}

// What a single-use token opens: the first message, and the close code.
function once(address, protocols) {
  const socket = new WebSocket(address, protocols)
  let first = null
  socket.once('message', (data) => {
    first = JSON.parse(data)
    if (first.type === 'ready') socket.close(1000)
  })
  return new Promise((resolve) => {
    socket.once('close', (code) => resolve({ first, protocol: socket.protocol || null, closed: code }))
  })
}

async function tokens() {
  const issue = async (fields) => (await (await post('/v1/tokens', fields)).json()).token
  const offered = ['voxrelay.v1', `bearer.${await issue({ expires_in: 30, uses: 1 })}`]
  const query = `${url}?token=${await issue({})}`
  return {
    protocol: [await once(url, offered), await once(url, offered)],
    query: [await once(query), await once(query)],
  }
}

function post(path, fields) {
  const headers = { ...bearer, 'content-type': 'application/json' }
  return fetch(http + path, { method: 'POST', headers, body: JSON.stringify(fields) })
}

async function overHttp(text) {
  const answer = await post('/v1/speech', { voice: 'default', text })
  const head = (name) => answer.headers.get(name)
  const speech = {
    status: answer.status, kind: head('content-type'), request_id: head('x-request-id'),
    chunked: head('transfer-encoding'), audio: 0, pieces: 0,
  }
  for await (const piece of answer.body) {
    speech.audio += piece.length
    speech.pieces += 1
  }
  const me = await (await fetch(`${http}/v1/me`, { headers: bearer })).json()
  return { speech, me }
}

async function main() {
  const text = readFileSync(chapter, 'utf8')
  const breaks = text.split('\n\n')
  const paragraphs = breaks.map((part, at) => (at + 1 < breaks.length ? `${part}\n\n` : part))
  const part = (frames) => (frames === whole ? paragraphs : paragraphs.slice(0, 5))
  const { limits } = (await wholeTurn(['A short one.'], {})).ready
  const facts = {
    client: `ws ${require('ws/package.json').version}`,
    text: [...text].length,
    bad_key: await badKey(),
    json: await wholeTurn(part('json'), { frames: 'json', words: true, format: PCM }),
    tagged: await wholeTurn(part('tagged'), { frames: 'tagged', format: PCM }),
    raw: await wholeTurn(part('raw'), { words: true, format: MULAW }),
    first_frame: await firstFrame(limits.streams, paragraphs),
    tokens: await tokens(),
    ...(await overHttp(paragraphs[1])),
  }
  console.log(JSON.stringify(facts))
}

await main()
