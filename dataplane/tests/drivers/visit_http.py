"""A client of an HTTP API as people write them: requests, httpx and aiohttp against one URL, with one token.

Prints one JSON object: what each library got. Decides nothing.
"""

import asyncio
import json
import os
import ssl
import sys

import aiohttp
import httpx
import requests

URL, CA = sys.argv[1], os.environ["WEIR_CA"]
HEADERS = {"Authorization": "Bearer " + os.environ["WEIR_TOKEN"], "Weir-Role": sys.argv[2]}
BODY = b"0123456789" * 100_000


def chunks():
    for at in range(0, len(BODY), 70_000):
        yield BODY[at : at + 70_000]


async def achunks():
    for chunk in chunks():
        yield chunk


def with_requests():
    with requests.Session() as session:
        # Else a bundle in the environment counts more.
        session.trust_env = False
        session.verify = CA
        session.headers.update(HEADERS)
        rows = [session.get(URL + path).json() for path in ("/patients", "/encoded", "/patients")]
        return rows, session.put(URL + "/up", data=BODY).text, session.put(URL + "/up", data=chunks()).text


def with_httpx():
    with httpx.Client(verify=ssl.create_default_context(cafile=CA), headers=HEADERS) as client:
        rows = [client.get(URL + path).json() for path in ("/patients", "/encoded", "/patients")]
        return rows, client.put(URL + "/up", content=BODY).text, client.put(URL + "/up", content=chunks()).text


async def with_aiohttp():
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=CA))
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:
        rows = []
        for path in ("/patients", "/encoded", "/patients"):
            async with session.get(URL + path) as answer:
                rows.append(await answer.json())
        async with session.put(URL + "/up", data=BODY) as answer:
            sized = await answer.text()
        async with session.put(URL + "/up", data=achunks()) as answer:
            return rows, sized, await answer.text()


print(json.dumps({"requests": with_requests(), "httpx": with_httpx(), "aiohttp": asyncio.run(with_aiohttp())}))
