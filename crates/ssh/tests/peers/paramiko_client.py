"""paramiko through the gateway: PORT FOLDER. Prints what was agreed, and "all done"."""

import os
import sys

import paramiko

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
TOKEN = "t" * 4096
MACS = ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"]
SUITES = [(cipher, mac) for cipher in ("aes128-ctr", "aes256-ctr") for mac in MACS]
SUITES += [("aes128-gcm@openssh.com", "hmac-sha2-256"), ("aes256-gcm@openssh.com", "hmac-sha2-256")]
METHODS = ["curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "mlkem768x25519-sha256"]


def host_key():
    with open(f"{FOLDER}/gateway.pub") as file:
        kind, blob = file.read().split()[:2]
    return paramiko.Ed25519Key(data=__import__("base64").b64decode(blob))


def connect(cipher=None, mac=None, method=None, **how):
    transport = paramiko.Transport(("127.0.0.1", PORT))
    options = transport.get_security_options()
    if cipher:
        options.ciphers, options.digests = [cipher], [mac]
    if method:
        options.kex = [method]
    transport.start_client(timeout=60)
    assert transport.get_remote_server_key() == host_key()
    if "key" in how:
        transport.auth_publickey("job+web", how["key"])
    else:
        transport.auth_password("job+web", how.get("token", TOKEN))
    return transport


def run(transport, command, data=b""):
    channel = transport.open_session()
    channel.exec_command(command)
    channel.sendall(data)
    channel.shutdown_write()
    out = channel.makefile("rb").read()
    return out, channel.makefile_stderr("rb").read(), channel.recv_exit_status()


def main():
    for cipher, mac in SUITES:
        transport = connect(cipher, mac)
        assert run(transport, "cat; echo err >&2; exit 3", b"x" * 100_000) == (b"x" * 100_000, b"err\n", 3)
        transport.close()
    for method in METHODS:
        transport = connect(method=method)
        print("method", method)
        assert run(transport, "echo in") == (b"in\n", b"", 0)
        transport.close()
    key = paramiko.Ed25519Key.from_private_key_file(f"{FOLDER}/caller")
    key.load_certificate(f"{FOLDER}/caller-cert.pub")
    transport = connect(key=key)
    noise = os.urandom(3 << 20)
    with paramiko.SFTPClient.from_transport(transport) as sftp:
        with sftp.open(f"{FOLDER}/up", "wb") as file:
            file.set_pipelined(True)
            file.write(noise)
        transport.renegotiate_keys()
        with sftp.open(f"{FOLDER}/up", "rb") as file:
            file.prefetch()
            assert file.read() == noise
    assert run(transport, "echo still here") == (b"still here\n", b"", 0)
    transport.close()
    try:
        connect(token="wrong")
        raise SystemExit("a wrong token came in")
    except paramiko.AuthenticationException:
        pass
    print("all done")


main()
