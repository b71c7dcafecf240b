"""A task of pictures of sounds: words that espeak-ng speaks, as spectrograms."""

import io
import subprocess
import wave
from collections.abc import Iterator

import numpy as np
from folder_data import Example
from PIL import Image

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "cat", "house")
# Variants that come with espeak-ng; every third is for validation.
VOICES = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo",
    "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Storm", "adam", "anika",
    "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "croak", "david", "ed", "edward",
    "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "iven", "john", "klatt",
    "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "max", "michel", "miguel", "pablo",
    "paul", "quincy", "rob", "sandro", "steph", "travis", "victor", "whisper", "zac",
)  # fmt: skip
WINDOW, HOP = 512, 128  # samples


def words(random: np.random.Generator, split: str, count: int) -> Iterator[Example]:
    """Spoken words in noise; a voice is in one split only."""
    voices = [v for i, v in enumerate(VOICES) if (i % 3 == 2) == (split == "valid")]
    for i in range(count):
        word = WORDS[i % len(WORDS)]
        voice = voices[random.integers(len(voices))]
        speed, pitch = random.integers(120, 220), random.integers(20, 80)
        yield word, spectrogram(random, spoken(word, voice, int(speed), int(pitch)))


def spoken(word: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """A word's samples, 22,050 a second, between -1 and 1."""
    command = ["espeak-ng", "-v", f"en+{voice}", "-s", str(speed), "-p", str(pitch), "--stdout"]
    data = subprocess.run([*command, word], check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(data)) as sound:
        # espeak-ng writes to a pipe without knowing the length: read what there is.
        samples = np.frombuffer(sound.readframes(len(data) // 2), "<i2")
    return samples / 32768


def spectrogram(random: np.random.Generator, samples: np.ndarray) -> Image.Image:
    """Loudness in decibels: time to the right, 0 to 8 kHz upward; gray, with noise."""
    silence = np.zeros(int(random.integers(1000, 6000)))
    samples = np.concatenate([silence, samples, silence])
    samples = samples + random.normal(0, 10 ** random.uniform(-3.5, -2), len(samples))
    starts = np.arange(0, len(samples) - WINDOW, HOP)
    frames = samples[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, axis=1)[:, : 8000 * WINDOW // 22050]) ** 2
    decibels = 10 * np.log10(power.T[::-1] + 1e-9)
    low, high = np.percentile(decibels, 5), decibels.max()
    gray = np.clip((decibels - low) / (high - low) * 255, 0, 255).astype("u1")
    return Image.fromarray(gray).resize((160, 160), Image.Resampling.BILINEAR).convert("RGB")
