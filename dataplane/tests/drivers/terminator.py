"""Ends TLS between a client and a PostgreSQL server, with a certificate of its own: what channel binding finds out.

Arguments: certificate, key, the server's port. Prints its own port, then serves until it is ended.
"""

import socket
import ssl
import struct
import sys
import threading

SSL_REQUEST = struct.pack("!ii", 8, 80877103)

certificate, key, server_port = sys.argv[1:]
inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
inward.load_cert_chain(certificate, key)
outward = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
outward.check_hostname = False
outward.verify_mode = ssl.CERT_NONE


def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    server = socket.create_connection(("127.0.0.1", int(server_port)))
    server.sendall(SSL_REQUEST)
    if server.recv(1) != b"S" or client.recv(8) != SSL_REQUEST:
        return
    client.sendall(b"S")
    client = inward.wrap_socket(client, server_side=True)
    server = outward.wrap_socket(server)
    threading.Thread(target=copy, args=(server, client), daemon=True).start()
    copy(client, server)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
