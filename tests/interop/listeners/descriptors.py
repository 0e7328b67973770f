"""A process without descriptors."""

import os
import resource
import socket
import time

from listeners import ANSWER, Proxy, ask, free_port, suite
from suite import equal, until

LIMIT = 64


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


@suite.case
def without_descriptors_connections_wait_and_none_is_reset(scene):
    port = free_port()
    configuration = f"listeners: [{{name: in, address: '127.0.0.1:{port}', network_filters: {ANSWER % 'hello'}}}]\n"
    proxy = scene.start(Proxy(scene.folder, configuration, preexec_fn=few_descriptors))
    clients = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(2 * LIMIT)]
    until(lambda: "connections wait to be accepted" in proxy.log.read_text(), "the log says so")
    before, clock = cpu(proxy.pid), time.monotonic()
    time.sleep(2)
    used = (cpu(proxy.pid) - before) / (time.monotonic() - clock)
    assert used < 0.1, f"{used:.2f} of a core while nothing can be accepted"
    lines = proxy.log.read_text().count("connections wait to be accepted")
    assert 1 <= lines <= 6, f"{lines} lines in three seconds"
    # As many are served as there are descriptors; each that ends lets in another. Nobody is reset.
    served = 0
    while clients:
        for client in clients:
            client.settimeout(0.01)
            try:
                answer = ask(client)
            except TimeoutError:
                continue
            assert answer.startswith(b"HTTP/1.1 200"), answer
            served += 1
            client.close()
            clients.remove(client)
            break
    equal(served, 2 * LIMIT)
    pauses = proxy.metric("transom_accept_pauses_total", 'reason="descriptors"')
    assert pauses > 0
    return f"{pauses} pauses, {lines} lines, {used:.3f} of a core"


@suite.case
def the_limit_of_open_files_is_raised_and_bounds_the_connections(scene):
    def soft():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))

    proxy = scene.start(Proxy(scene.folder, "listeners: []\n", preexec_fn=soft))
    equal(resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE), (4096, 4096))
    equal(proxy.metric("transom_connections_limit"), (4096 - 128) // 2)


def cpu(pid: int) -> float:
    """Seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
