"""What checks Amazon RDS tokens in place of Amazon: a directory (LDAP, simple bind) that PostgreSQL asks about passwords.

A password is right if botocore, given the same key and the time in the token, signs the same token, and that time is not
more than a quarter of an hour ago. Prints its port, then one line a bind: `in` or `out`, and why.
"""

import calendar
import datetime
import socket
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import botocore.session

ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, REGION, HOST, PORT = sys.argv[1:]
BIND_REQUEST, BIND_RESPONSE, SIMPLE = 0x60, 0x61, 0x80
SUCCESS, INVALID_CREDENTIALS = 0, 49
lock = threading.Lock()


def expected(user, at):
    session = botocore.session.get_session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)
    with lock:
        botocore.auth.get_current_datetime = lambda *_, **__: at
        client = session.create_client("rds", region_name=REGION)
        return client.generate_db_auth_token(HOST, int(PORT), user)


def judge(user, token):
    stamp = parse_qs(urlsplit("https://" + token).query).get("X-Amz-Date", [""])[0]
    try:
        at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")
    except ValueError:
        return "no token"
    age = time.time() - calendar.timegm(at.timetuple())
    if not -60 <= age <= 900:
        return "expired"
    return None if expected(user, at) == token else "another signature"


def element(data, at):
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at : at + size], "big"), at + size
    return tag, data[at : at + length], at + length


def serve(client):
    data = b""
    while chunk := client.recv(65536):
        data += chunk
        try:
            _, message, end = element(data, 0)
        except IndexError:
            continue
        if end > len(data):
            continue
        data = data[end:]
        _, number, at = element(message, 0)
        tag, operation, _ = element(message, at)
        if tag != BIND_REQUEST:
            break
        _, _, at = element(operation, 0)
        _, name, at = element(operation, at)
        kind, password, _ = element(operation, at)
        user = name.decode().removeprefix("cn=")
        wrong = judge(user, password.decode()) if kind == SIMPLE else "no simple bind"
        print("out " + wrong if wrong else "in", flush=True)
        result = bytes([0x0A, 1, INVALID_CREDENTIALS if wrong else SUCCESS, 4, 0, 4, 0])
        answer = bytes([2, len(number)]) + number + bytes([BIND_RESPONSE, len(result)]) + result
        client.sendall(bytes([0x30, len(answer)]) + answer)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
