"""Cancels a statement that is held, once the gateway has said that it waits, then goes on with the same connection.

Argument: `simple` or `prepared`, the two ways in which asyncpg sends a statement. The driver cancels by a connection of its
own when whoever awaits the statement gives up.
"""

import asyncio
import os
import ssl
import sys

import asyncpg

SQL = "DELETE FROM visits"


async def main():
    trust = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    db = await asyncpg.connect(ssl=trust)
    waits = asyncio.Event()
    db.add_log_listener(lambda _connection, _message: waits.set())
    statement = asyncio.create_task(db.execute(SQL) if sys.argv[1] == "simple" else db.fetch(SQL))
    told = asyncio.create_task(waits.wait())
    await asyncio.wait({statement, told}, return_when=asyncio.FIRST_COMPLETED)
    statement.cancel()
    try:
        print(await statement)
    except asyncio.CancelledError:
        # The driver keeps the server's answer to itself; the next statement waits for it.
        print("57014")
    except asyncpg.PostgresError as error:
        print(error.sqlstate)
    # Only a bound on waiting: a cancel that came to nothing leaves the statement held.
    print(await asyncio.wait_for(db.fetchval("SELECT 'alive'"), 120))
    await db.close()


asyncio.run(main())
