"""A real SMTP server for tests, on 127.0.0.1. Start it with smtp_server.sh, which installs it.

  --port N           the port; 0 (the default) takes a free one
  --mails DIR        writes each accepted mail to DIR/<n>.eml, whole or absent, n from 1 in order
                     of arrival (it goes on after the highest there); the envelope is in the
                     headers X-MailFrom and X-RcptTo
  --tls DIR          offers STARTTLS; writes DIR/ca.pem, the authority to trust (localhost, 127.0.0.1)
  --login USER:PASS  demands AUTH (PLAIN or LOGIN) before MAIL FROM; without --tls also in the clear
  --follow-stdin     stops at the end of stdin, so that it never outlives a killed test

Prints "ready PORT" when it listens. SIGTERM and SIGINT stop it: it drops its connections and
exits with 0. A stopped server can be started again on the same port at once.

What a recipient's local part asks for (before a "+", so that addresses can differ):
  greylist  450 at RCPT                 unknown   550 at RCPT
  full      452 at RCPT                 refuse    554 after the content
  bye       421 at RCPT, then closes    drop      closes without an answer at RCPT
  lose      takes the mail, then closes without an answer
  greylist-once  450 at the first RCPT of this very address, accepted from the second on
Any other is accepted.
"""

import argparse
import asyncio
import logging
import os
import pathlib
import signal
import ssl
import sys
import threading

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

REFUSALS = {
    "greylist": "450 4.2.0 Greylisted, come back later",
    "unknown": "550 5.1.1 No such user here",
    "full": "452 4.2.2 Mailbox full",
}


class Handler:
    def __init__(self, mails):
        self.mails = mails
        taken = [int(f.stem) for f in mails.glob("*.eml") if f.stem.isdigit()] if mails else []
        self.count = max(taken, default=0)
        self.greylisted = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        wish = address.split("@")[0].split("+")[0]
        if wish == "greylist-once" and address not in self.greylisted:
            self.greylisted.add(address)
            return REFUSALS["greylist"]
        if wish in REFUSALS:
            return REFUSALS[wish]
        if wish == "bye":
            await server.push("421 4.3.2 Shutting down, come back later")
            server.transport.close()
            return "421 4.3.2 closed"
        if wish == "drop":
            server.transport.abort()
            return "451 4.3.0 dropped"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        wishes = [address.split("@")[0].split("+")[0] for address in envelope.rcpt_tos]
        if "refuse" in wishes:
            return "554 5.7.1 The content is refused"
        self.count += 1
        number = self.count
        if self.mails:
            self.write(number, envelope)
        if "lose" in wishes:
            server.transport.abort()
        return f"250 2.0.0 OK: taken as {number}"

    def write(self, number, envelope):
        head = f"X-MailFrom: {envelope.mail_from}\r\nX-RcptTo: {', '.join(envelope.rcpt_tos)}\r\n"
        temporary = self.mails / f".{number}.tmp"
        temporary.write_bytes(head.encode() + envelope.original_content)
        temporary.rename(self.mails / f"{number}.eml")


def tls_context(directory):
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    return context


def authenticator(login):
    user, password = (part.encode() for part in login.split(":", 1))

    def check(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (user, password)
        # handled=False lets aiosmtpd answer 535 itself.
        return AuthResult(success=good, handled=False)

    return check


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mails", type=pathlib.Path)
    parser.add_argument("--tls", type=pathlib.Path)
    parser.add_argument("--login")
    parser.add_argument("--follow-stdin", action="store_true")
    options = parser.parse_args()

    if options.mails:
        options.mails.mkdir(parents=True, exist_ok=True)
    context = tls_context(options.tls) if options.tls else None
    # Refused handshakes and dropped connections are what tests ask for, not news.
    logging.disable(logging.CRITICAL)
    handler = Handler(options.mails)
    login = {}
    if options.login:
        login = {
            "authenticator": authenticator(options.login),
            "auth_required": True,
            "auth_require_tls": context is not None,
        }

    def connection():
        return SMTP(handler, hostname="smtp.test", tls_context=context, enable_SMTPUTF8=False, **login)

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = await loop.create_server(connection, "127.0.0.1", options.port)
    if options.follow_stdin:

        def follow():
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=follow, daemon=True).start()
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()
    sys.stdout.flush()
    # Open connections are dropped, as a killed server drops them.
    os._exit(0)


asyncio.run(main())
