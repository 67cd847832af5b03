"""Who may connect: keys of adb servers, and whether a signature was made with one of them.

adb's keys are RSA, 2048 bits; the token is signed as if it were a SHA-1 digest (PKCS #1 v1.5). A public key travels as
base64 of a struct of little-endian words: size of the modulus in words, a constant of Montgomery's, modulus, another
constant, exponent; then a blank and the owner's name (AOSP's libcrypto_utils/android_pubkey.cpp).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path

TOKEN_BYTES = 20
MODULUS_BYTES = 256
_STRUCT = struct.Struct(f"<II{MODULUS_BYTES}s{MODULUS_BYTES}sI")
_SHA1_OID = bytes.fromhex("3021300906052b0e03021a05000414")
_PADDING = b"\x00\x01" + b"\xff" * (MODULUS_BYTES - 3 - len(_SHA1_OID) - TOKEN_BYTES) + b"\x00" + _SHA1_OID


@dataclass(frozen=True)
class PublicKey:
    modulus: int
    exponent: int
    text: str  # as the adb server sent it

    def signed(self, token: bytes, signature: bytes) -> bool:
        if len(signature) != MODULUS_BYTES:
            return False
        opened = pow(int.from_bytes(signature, "big"), self.exponent, self.modulus)
        return hmac.compare_digest(opened.to_bytes(MODULUS_BYTES, "big"), _PADDING + token)


def public_key(sent: bytes) -> PublicKey | None:
    """None: these bytes are no public key of adb."""
    try:
        text = sent.rstrip(b"\x00").decode()
        words, _, modulus, _, exponent = _STRUCT.unpack(base64.b64decode(text.split(" ")[0].encode(), validate=True))
    except (UnicodeDecodeError, binascii.Error, struct.error):
        return None
    number = int.from_bytes(modulus, "little")
    if words * 4 != MODULUS_BYTES or exponent not in (3, 65537) or number.bit_length() != MODULUS_BYTES * 8:
        return None
    return PublicKey(number, exponent, text)


class AcceptedKeys:
    """The phone's ``/data/misc/adb/adb_keys``. ``file``: kept there from start to start; None: forgotten at the end."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        lines = file.read_bytes().splitlines() if file and file.exists() else []
        self._keys = {key for line in lines if (key := public_key(line))}

    def signed(self, token: bytes, signature: bytes) -> bool:
        return any(key.signed(token, signature) for key in self._keys)

    def accept(self, key: PublicKey) -> None:
        self._keys.add(key)
        self._save()

    def forget(self) -> None:
        self._keys.clear()
        self._save()

    def _save(self) -> None:
        if self._file:
            self._file.write_text("".join(f"{key.text}\n" for key in sorted(self._keys, key=lambda key: key.text)))
