"""Prints the digits heard in WAV files (16-bit mono): one line for each file, separated by spaces.

Uses PyPI `pocketsphinx`, whose package carries its US English model: no network is needed. The grammar
allows any number of digits in any order and nothing else, so a digit that is printed was heard as that
digit, but noise would be heard as digits too: compare with what was said.
"""

import sys
import wave

from pocketsphinx import Decoder, get_model_path

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GRAMMAR = f"#JSGF V1.0; grammar digits; public <digits> = ( {' | '.join(DIGITS)} )+ ;"


def recognise(pcm: bytes, rate: int) -> list[str]:
    """The digits in 16-bit little-endian mono samples at `rate` Hz."""
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        samprate=rate,
        loglevel="FATAL",
    )
    decoder.add_jsgf_string("digits", GRAMMAR)
    decoder.activate_search("digits")
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    words = heard.hypstr.split() if heard else []
    return [str(DIGITS.index(word)) for word in words]


def read(path: str) -> tuple[bytes, int]:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            sys.exit(f"{path}: not 16-bit mono")
        return file.readframes(file.getnframes()), file.getframerate()


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: recognise.py FILE.wav ...")
    for path in sys.argv[1:]:
        print(" ".join(recognise(*read(path))))
