"""Buys the addresses given, in order, with one client of l402-requests.

Usage: buy.py PAY_URL URL...
Prints {"answers": [{"status", "body"}], "paid": [invoice, ...], "credentials": [...]}.
"""

import json
import sys

import httpx
from l402_requests import BudgetController, L402Client
from l402_requests.wallets import WalletBase


class FrontWallet(WalletBase):
    """Pays over the simulated network."""

    def __init__(self, pay_url: str) -> None:
        self.pay_url = pay_url
        self.paid: list[str] = []

    async def pay_invoice(self, bolt11: str) -> str:
        async with httpx.AsyncClient() as client:
            answer = await client.post(self.pay_url, json={"invoice": bolt11})
        answer.raise_for_status()
        self.paid.append(bolt11)
        return answer.json()["preimage"]


def main(pay_url: str, *urls: str) -> None:
    wallet = FrontWallet(pay_url)
    credentials: list[str] = []

    def note(request: httpx.Request) -> None:
        if "authorization" in request.headers:
            credentials.append(request.headers["authorization"])

    client = L402Client(
        wallet=wallet,
        budget=BudgetController(max_sats_per_request=50),
        event_hooks={"request": [note]},
    )
    answers = [client.get(url) for url in urls]
    print(
        json.dumps(
            {
                "answers": [
                    {"status": answer.status_code, "body": answer.text}
                    for answer in answers
                ],
                "paid": wallet.paid,
                "credentials": credentials,
            }
        )
    )


main(*sys.argv[1:])
