"""A mail server for tests: takes mails, refuses them or hangs, as told, and says what it saw.

usage: server.py OPTIONS, where OPTIONS is a JSON object:

  port         0 is a free one
  certificate  a PEM file with certificate and key; without it there is no TLS
  login        [name, password]; without it nobody logs in
  rcpt         replies to the first RCPT commands; then all are accepted
  data         replies to the first mails, after their content; "hang" takes the mail and never answers

Each line of its output is a JSON object: first the port, then one for each mail that it saw in full. It ends
when its input does, and so with the test.
"""

import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, options):
        self.rcpt = list(options.get("rcpt", []))
        self.data = list(options.get("data", []))

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if self.rcpt:
            return self.rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        reply = self.data.pop(0) if self.data else "250 OK"
        say(
            mail=envelope.original_content.decode(),
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            tls=session.ssl is not None,
            login=session.auth_data if session.authenticated else None,
            reply=reply,
        )
        if reply == "hang":
            await asyncio.sleep(3600)
        return reply


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    options = json.loads(sys.argv[1])
    handler = Handler(options)
    arguments = {"hostname": "mx.smtp.test", "loop": asyncio.get_running_loop()}
    if "certificate" in options:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options["certificate"])
        arguments |= {"tls_context": context, "require_starttls": True}
    if "login" in options:
        name, password = options["login"]

        def authenticator(server, session, envelope, mechanism, data):
            fits = (data.login.decode(), data.password.decode()) == (name, password)
            return AuthResult(success=fits, handled=False, auth_data=data.login.decode())

        arguments |= {"authenticator": authenticator, "auth_required": True, "auth_require_tls": True}
    server = await arguments["loop"].create_server(
        lambda: SMTP(handler, **arguments), "127.0.0.1", options.get("port", 0)
    )
    say(port=server.sockets[0].getsockname()[1])
    await arguments["loop"].run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(main())
    # Sessions that hang are not waited for.
    os._exit(0)
