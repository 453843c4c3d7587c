"""Logs in by SASL OAUTHBEARER with libpq 18, whose hook for an application's own flow gives the token in PGPASSWORD.

Prints one JSON line: what the hook was told, and the answer to a query or what went wrong. The libpq is the one that
psycopg's wheel brings; psycopg has no name for the hook, so that it is set by hand.
"""

import ctypes
import glob
import json
import os
import sys

import psycopg
import psycopg_binary

OAUTH_BEARER_TOKEN = 1


class Request(ctypes.Structure):
    _fields_ = [
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("asynchronous", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    ]


TOKEN = ctypes.create_string_buffer(os.environ.pop("PGPASSWORD").encode())
told = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request))
def hook(kind, _, request):
    if kind != OAUTH_BEARER_TOKEN:
        return 0
    asked = request.contents
    told.append([field and field.decode() for field in (asked.openid_configuration, asked.scope)])
    asked.token = ctypes.addressof(TOKEN)
    return 1


folder = os.path.join(os.path.dirname(psycopg_binary.__file__), "..", "psycopg_binary.libs")
libpq = ctypes.CDLL(glob.glob(os.path.join(folder, "libpq-*.so*"))[0])
assert libpq.PQlibVersion() >= 180000
libpq.PQsetAuthDataHook(hook)
said = {"told": told}
try:
    with psycopg.connect(oauth_issuer=sys.argv[1], oauth_client_id="weir-test") as db:
        said["rows"] = db.execute(sys.argv[2]).fetchall()
except psycopg.Error as error:
    said["error"] = str(error)
print(json.dumps(said))
