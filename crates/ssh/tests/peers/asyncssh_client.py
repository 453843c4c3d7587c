"""asyncssh through the gateway: PORT FOLDER. Prints what was agreed, and "all done"."""

import asyncio
import os
import sys

import asyncssh

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
TOKEN = "t" * 4096
MACS = ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"]
SUITES = [(cipher, mac) for cipher in ("aes128-ctr", "aes256-ctr") for mac in MACS]
SUITES += [(cipher, None) for cipher in ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com")]


def known_hosts():
    with open(f"{FOLDER}/gateway.pub") as file:
        return asyncssh.import_known_hosts(f"[127.0.0.1]:{PORT} {file.read()}")


def connect(**how):
    how.setdefault("client_keys", None)
    return asyncssh.connect("127.0.0.1", PORT, username="job+web", known_hosts=known_hosts(), config=None, agent_path=None, **how)


async def suite(cipher, mac):
    how = {"mac_algs": [mac]} if mac else {}
    async with connect(password=TOKEN, encryption_algs=[cipher], **how) as connection:
        done = await connection.run("cat; echo err >&2; exit 3", input="x" * 100_000)
        assert (done.stdout, done.stderr, done.exit_status) == ("x" * 100_000, "err\n", 3), cipher


async def many():
    noise = os.urandom(2 << 20)
    with open(f"{FOLDER}/noise", "wb") as file:
        file.write(noise)
    key = (f"{FOLDER}/caller", f"{FOLDER}/caller-cert.pub")
    async with connect(client_keys=[key], rekey_bytes="512K") as connection:
        print("method", connection.get_extra_info("recv_cipher"))
        runs = [connection.run(f"echo {at}; exit {at}") for at in range(8)]
        for at, done in enumerate(await asyncio.gather(*runs)):
            assert (done.stdout, done.exit_status) == (f"{at}\n", at)
        async with connection.start_sftp_client() as sftp:
            await sftp.put(f"{FOLDER}/noise", f"{FOLDER}/there")
            await sftp.get(f"{FOLDER}/there", f"{FOLDER}/back")
        with open(f"{FOLDER}/back", "rb") as file:
            assert file.read() == noise


class Prompted(asyncssh.SSHClient):
    """Answers keyboard-interactive, and nothing else."""

    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [TOKEN for _ in prompts]


async def main():
    for cipher, mac in SUITES:
        await suite(cipher, mac)
    await many()
    async with connect(client_factory=Prompted, preferred_auth="keyboard-interactive") as connection:
        assert (await connection.run("echo in")).stdout == "in\n"
    try:
        async with connect(password="wrong"):
            raise SystemExit("a wrong token came in")
    except asyncssh.PermissionDenied:
        pass
    print("all done")


asyncio.run(main())
