# A mail server for tests, of Debian's python3-aiosmtpd. What it takes it prints as lines of JSON.
# Usage: smtpd.py starttls|implicit|none CERT KEY USER PASSWORD REFUSED-ADDRESS
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

mode, cert, key, user, password, refused = sys.argv[1:]
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(cert, key)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if b"[busy]" in envelope.content:
            return "451 4.3.0 try again later"
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode(), "helo": session.host_name,
            "tls": bool(session.ssl) or mode == "implicit", "login": session.authenticated,
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=ok, handled=False)


def connection():
    return SMTP(
        Handler(), hostname="mail.example", tls_context=tls if mode == "starttls" else None, require_starttls=mode == "starttls",
        authenticator=authenticate, auth_required=bool(user), auth_require_tls=mode == "starttls",
    )


async def main():
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, ssl=tls if mode == "implicit" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
