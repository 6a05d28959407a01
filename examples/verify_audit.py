"""Checks the log of an agent wallet, as `feria wallet audit NAME --json` exports it.

Usage: python3 verify_audit.py LOG.json [LAST_HASH]
docs/AUDIT.md says what is hashed. Ends with 0 when the chain is whole, else with 1.
"""
import hashlib
import json
import sys

FIELDS = ("amount_msat", "at", "kind", "reference", "seq", "wallet_id")


def fault(log, last=None):
    """Returns what is wrong with the chain, or None."""
    prev = "00" * 32
    for number, entry in enumerate(log["entries"]):
        if entry["seq"] != number:
            return f"entry {number} is missing"
        if entry["prev"] != prev:
            return f"entry {number} does not follow the one before"
        fields = {name: {**entry, "wallet_id": log["wallet_id"]}[name] for name in FIELDS}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        prev = hashlib.sha256(bytes.fromhex(prev) + text.encode()).hexdigest()
        if entry["hash"] != prev:
            return f"entry {number} was changed"
    return "the end was cut off" if last not in (None, prev) else None


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = fault(json.load(file), *sys.argv[2:3])
    print(f"The chain is broken: {found}" if found else "The chain is whole.")
    sys.exit(1 if found else 0)
