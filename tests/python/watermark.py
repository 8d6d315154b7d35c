"""The audio of the fake vendors: each byte depends on its character and on the place of it."""

BYTES_PER_CHAR = 64


def watermark(text):
    audio = bytearray()
    for place, letter in enumerate(text):
        seed = ord(letter) * 31 + place * 7
        audio.extend((seed + k * 13) & 0xFF for k in range(BYTES_PER_CHAR))
    return bytes(audio)
