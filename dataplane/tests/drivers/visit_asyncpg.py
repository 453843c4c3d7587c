"""The visit of README.md with asyncpg: everything is prepared and binary, described once and reused."""

import asyncio
import json
import os
import ssl

import asyncpg

QUERY = "SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT "


def show(case, **what):
    print(json.dumps({"case": case, **what}, default=str), flush=True)


def plain(records):
    return [list(record.values()) for record in records]


async def sqlstate(db, statement):
    try:
        await db.execute(statement)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return None


async def visit():
    trust = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    db = await asyncpg.connect(ssl=trust)
    show("simple", rows=plain(await db.fetch(QUERY + "3")))
    show("parameter", rows=plain(await db.fetch(QUERY + "$1", 3)))
    statement = await db.prepare(QUERY + "$1")
    for _ in range(3):
        rows = await statement.fetch(3)
    show("prepared", rows=plain(rows))
    show("binary", rows=plain(rows))
    show("star", rows=plain(await db.fetch("SELECT * FROM patients WHERE id = 1")))
    async with db.transaction():
        cursor = await db.cursor(QUERY + "3")
        show("cursor", rows=plain(await cursor.fetch(3)))
    copied = bytearray()

    async def keep(data):
        copied.extend(data)

    await db.copy_from_query("SELECT id, ssn, email FROM patients ORDER BY id LIMIT 3", output=keep)
    show("copy", rows=[line.split("\t") for line in copied.decode().splitlines()])
    show("blocked", error=await sqlstate(db, "DROP TABLE patients"))
    show("after", rows=plain(await db.fetch("SELECT 1")))
    transaction = db.transaction()
    await transaction.start()
    denied = await sqlstate(db, "DROP TABLE patients")
    failed = await sqlstate(db, "SELECT 1")
    await transaction.rollback()
    show("transaction", errors=[denied, failed])
    show("after_transaction", rows=plain(await db.fetch("SELECT 1")))
    await db.close()


asyncio.run(visit())
