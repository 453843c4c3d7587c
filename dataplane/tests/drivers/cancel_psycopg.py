"""Cancels a held statement as soon as the notice says that it is held, then goes on with the same connection."""

import os
import threading

import psycopg

with psycopg.connect(sslmode="verify-full", sslrootcert=os.environ["PGSSLROOTCERT"], autocommit=True) as db:
    db.add_notice_handler(lambda notice: threading.Thread(target=db.cancel).start())
    try:
        db.execute("DELETE FROM visits")
    except psycopg.Error as error:
        print(error.sqlstate)
    print(db.execute("SELECT 'alive'").fetchone()[0])
