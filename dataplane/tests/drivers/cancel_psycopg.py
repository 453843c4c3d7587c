"""Cancels a held statement as soon as the notice says that it is held, then goes on with the same connection.

With `secure` as argument by libpq's PQcancelStart (libpq 17 and later, inside TLS as the session is), else by PQcancel.
"""

import os
import sys
import threading

import psycopg

with psycopg.connect(sslmode="verify-full", sslrootcert=os.environ["PGSSLROOTCERT"], autocommit=True) as db:
    cancel = db.cancel_safe if sys.argv[1:] == ["secure"] else db.cancel
    db.add_notice_handler(lambda notice: threading.Thread(target=cancel).start())
    try:
        db.execute("DELETE FROM visits")
    except psycopg.Error as error:
        print(error.sqlstate)
    print(db.execute("SELECT 'alive'").fetchone()[0])
