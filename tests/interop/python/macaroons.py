"""Makes, reads, verifies and narrows macaroons with pymacaroons.

Usage: macaroons.py check VECTORS_JSON    prints what it finds for each vector
       macaroons.py narrow BASE64 CAVEAT...  prints the narrowed macaroon
"""

import base64
import json
import sys

from pymacaroons import MACAROON_V2, Macaroon, Verifier


def v2_bytes(macaroon: Macaroon) -> bytes:
    """Returns the binary form; the library gives unpadded URL-safe base64."""
    text = macaroon.serialize()
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)["vectors"]
    found = []
    for vector in vectors:
        root_key = bytes.fromhex(vector["root_key_hex"])
        made = Macaroon(
            location=vector["location"],
            identifier=bytes.fromhex(vector["identifier_hex"]),
            key=root_key,
            version=MACAROON_V2,
        )
        for caveat in vector["caveats"]:
            made.add_first_party_caveat(caveat)
        read = Macaroon.deserialize(vector["base64url_unpadded"])
        verifier = Verifier()
        for caveat in vector["caveats"]:
            verifier.satisfy_exact(caveat)
        found.append(
            {
                "name": vector["name"],
                "signature_hex": made.signature,
                "v2_hex": v2_bytes(made).hex(),
                "read_back_hex": v2_bytes(read).hex(),
                "verified": verifier.verify(read, root_key),
            }
        )
    return found


def narrow(text: str, *caveats: str) -> dict:
    unpadded = text.replace("+", "-").replace("/", "_").rstrip("=")
    macaroon = Macaroon.deserialize(unpadded)
    for caveat in caveats:
        macaroon.add_first_party_caveat(caveat)
    return {"base64": base64.b64encode(v2_bytes(macaroon)).decode()}


COMMANDS = {"check": check, "narrow": narrow}
print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
