"""A hash that only the holder of a key can compute: it draws the control group and marks forgotten customers.

Owns its definition in plain Python. The kernel has it from the crate ``siphasher``, which is tested against it. It
keeps no key.
"""

KEY_BYTES = 16
_WORD_BYTES = 8
_MASK = (1 << 64) - 1


def keyed_hash(key: bytes, data: bytes) -> int:
    """Return the SipHash-2-4 of the data under a key of 16 bytes: 64 bits that nobody can predict without the key."""
    words = [int.from_bytes(key[at : at + _WORD_BYTES], "little") for at in (0, _WORD_BYTES)]
    v0, v1 = words[0] ^ 0x736F6D6570736575, words[1] ^ 0x646F72616E646F6D
    v2, v3 = words[0] ^ 0x6C7967656E657261, words[1] ^ 0x7465646279746573
    # The last word holds the rest of the data, and in its highest byte the length of all of it.
    left = len(data) % _WORD_BYTES
    padded = data + bytes(_WORD_BYTES - 1 - left) + bytes([len(data) & 0xFF])
    state = (v0, v1, v2, v3)
    for at in range(0, len(padded), _WORD_BYTES):
        word = int.from_bytes(padded[at : at + _WORD_BYTES], "little")
        v0, v1, v2, v3 = _rounds(2, state[0], state[1], state[2], state[3] ^ word)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = _rounds(4, state[0], state[1], state[2] ^ 0xFF, state[3])
    return v0 ^ v1 ^ v2 ^ v3


def _rounds(count: int, v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v2 = (v2 + v3) & _MASK
        v1, v3 = _rotate(v1, 13) ^ v0, _rotate(v3, 16) ^ v2
        v0 = _rotate(v0, 32)
        v2 = (v2 + v1) & _MASK
        v0 = (v0 + v3) & _MASK
        v1, v3 = _rotate(v1, 17) ^ v2, _rotate(v3, 21) ^ v0
        v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
