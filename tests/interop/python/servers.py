"""Sells one path of a published L402 server for Python, over the simulated network.

Usage: servers.py l402|l402kit INVOICE_URL
Prints {"url": ...} when it listens, and then one line for each paid call.
"""

import json
import sys
import tempfile
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
from flask import Flask, request

PRICE_SAT = 21


def new_invoice(url: str, sat: int, description: str) -> tuple[str, str]:
    answer = httpx.post(url, json={"amount_sat": sat, "description": description})
    answer.raise_for_status()
    invoice = answer.json()
    return invoice["invoice"], invoice["payment_hash"]


def sold_by_l402(app: Flask, invoice_url: str) -> None:
    """The middleware of l402==0.0.9, for Flask: its macaroons, its SQLite, its check."""
    from l402.server import Authenticator
    from l402.server.invoice_provider import InvoiceProvider
    from l402.server.macaroons import SqliteMacaroonService
    from l402.server.middlewares import Flask_l402_decorator

    class Simulated(InvoiceProvider):
        async def create_invoice(self, amount, currency, description):
            return new_invoice(invoice_url, amount // 100, description)

    folder = tempfile.mkdtemp()
    macaroons = SqliteMacaroonService(f"{folder}/macaroons.db")
    # The decorator runs in another thread than this one.
    import sqlite3

    macaroons.conn = sqlite3.connect(f"{folder}/macaroons.db", check_same_thread=False)
    authenticator = Authenticator("localhost", Simulated(), macaroons)

    def price(_request):
        return PRICE_SAT * 100, "USD", "a call"

    @app.route("/paid")
    @Flask_l402_decorator(authenticator, price)
    def paid():
        return served()


def sold_by_l402kit(app: Flask, invoice_url: str) -> None:
    """The decorator of l402kit: its tokens are JSON, and each is good for one call."""
    import base64
    import time

    from l402kit import l402_required
    from l402kit.types import Invoice

    class Simulated:
        async def create_invoice(self, amount_sats):
            invoice, payment_hash = new_invoice(invoice_url, amount_sats, "a call")
            expires = int(time.time() * 1000) + 3_600_000
            # As its own providers write it.
            token = json.dumps({"hash": payment_hash, "exp": expires})
            token = base64.b64encode(token.encode()).decode()
            return Invoice(invoice, payment_hash, token, amount_sats, expires)

        async def check_payment(self, payment_hash):
            return True

    @app.route("/paid")
    @l402_required(price_sats=PRICE_SAT, lightning=Simulated())
    def paid():
        return served()


def served() -> dict:
    print(json.dumps({"paid": request.full_path}), flush=True)
    return {"sold_by": sys.argv[1], "asked": request.args.get("city")}


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main(kind: str, invoice_url: str) -> None:
    app = Flask("seller")
    {"l402": sold_by_l402, "l402kit": sold_by_l402kit}[kind](app, invoice_url)
    server: WSGIServer = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    # Whoever started it ends it by closing its input.
    sys.stdin.read()
    server.shutdown()


main(*sys.argv[1:])
