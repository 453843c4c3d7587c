"""The visit of README.md with psycopg 3: text and binary cursors, prepared statements, pipelines, COPY."""

import json
import os

import psycopg

QUERY = "SELECT id, name, ssn, email FROM patients ORDER BY id LIMIT "


def show(case, **what):
    print(json.dumps({"case": case, **what}, default=str), flush=True)


def sqlstate(run):
    try:
        run()
    except psycopg.Error as error:
        return error.sqlstate
    return None


with psycopg.connect(sslmode="verify-full", sslrootcert=os.environ["PGSSLROOTCERT"], autocommit=True) as db:
    show("simple", rows=db.execute(QUERY + "3").fetchall())
    show("parameter", rows=db.execute(QUERY + "%s", (3,)).fetchall())
    for _ in range(3):
        rows = db.execute(QUERY + "%s", (3,), prepare=True).fetchall()
    show("prepared", rows=rows)
    show("binary", rows=db.cursor(binary=True).execute(QUERY + "%s", (3,)).fetchall())
    show("star", rows=db.execute("SELECT * FROM patients WHERE id = 1").fetchall())
    with db.transaction(), db.cursor(name="server_side") as cursor:
        cursor.execute(QUERY + "3")
        show("cursor", rows=cursor.fetchall())
    with db.cursor().copy("COPY (SELECT id, ssn, email FROM patients ORDER BY id LIMIT 3) TO STDOUT") as copy:
        show("copy", rows=list(copy.rows()))
    with db.pipeline():
        first = db.execute(QUERY + "1")
        second = db.execute(QUERY + "2")
    show("pipeline", rows=first.fetchall() + second.fetchall())
    show("blocked", error=sqlstate(lambda: db.execute("DROP TABLE patients")))
    show("after", rows=db.execute("SELECT 1").fetchall())
    db.execute("BEGIN")
    denied = sqlstate(lambda: db.execute("DROP TABLE patients"))
    failed = sqlstate(lambda: db.execute("SELECT 1"))
    db.execute("ROLLBACK")
    show("transaction", errors=[denied, failed])
    show("after_transaction", rows=db.execute("SELECT 1").fetchall())
