"""Cancels a statement that runs, then goes on with the same connection. Argument: which of the drivers' ways.

`plain` is libpq's PQcancel, `secure` its PQcancelStart (libpq 17 and later, inside TLS as the session is), `asyncpg` that
driver's own, when a time limit is over.
"""

import asyncio
import os
import ssl
import sys
import threading

SQL = "SELECT pg_sleep(600)"


def psycopg_way(secure):
    import psycopg

    with psycopg.connect(sslmode="verify-full", sslrootcert=os.environ["PGSSLROOTCERT"], autocommit=True) as db:
        done = threading.Event()

        def again():
            # One that comes before the statement has reached the server cancels nothing.
            while not done.wait(0.2):
                db.cancel_safe(timeout=5) if secure else db.cancel()

        canceller = threading.Thread(target=again)
        canceller.start()
        try:
            db.execute(SQL)
        except psycopg.Error as error:
            print(error.sqlstate)
        finally:
            done.set()
            canceller.join()
        # The last of several may have come late.
        for _ in range(3):
            try:
                print(db.execute("SELECT 'alive'").fetchone()[0])
                break
            except psycopg.errors.QueryCanceled:
                pass


async def asyncpg_way():
    import asyncpg

    trust = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    db = await asyncpg.connect(ssl=trust)
    try:
        await db.fetch(SQL, timeout=1)
    except asyncio.TimeoutError:
        print("57014")
    print(await db.fetchval("SELECT 'alive'"))
    await db.close()


if sys.argv[1] == "asyncpg":
    asyncio.run(asyncpg_way())
else:
    psycopg_way(sys.argv[1] == "secure")
