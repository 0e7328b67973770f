"""Unix sockets from a process's beginning to its end."""

import os
import signal
import socket
import stat
import threading
import time

from listeners import ANSWER, Proxy, ask, refused, suite
from processes import curl
from suite import equal


def listener(path, body: str = "hello", more: str = "") -> str:
    return f"listeners: [{{name: in, address: 'unix:{path}'{more}, network_filters: {ANSWER % body}}}]\n"


@suite.case
def curl_is_served_and_the_file_goes_with_the_process(scene):
    path = scene.folder / "in.sock"
    proxy = scene.start(Proxy(scene.folder, listener(path, more=", unix_socket: {mode: '0640', group: 0}")))
    equal(stat.S_IMODE(path.stat().st_mode), 0o640, "mode")
    equal(curl("--unix-socket", str(path), "http://a/"), "hello")
    proxy.end()
    assert not path.exists()


@suite.case
def a_process_that_was_killed_leaves_a_socket_that_the_next_one_replaces(scene):
    path = scene.folder / "in.sock"
    first = scene.start(Proxy(scene.folder, listener(path), "first"))
    told = refused(scene.folder, listener(path))
    assert "a living process listens on this socket" in told, told
    equal(curl("--unix-socket", str(path), "http://a/"), "hello")
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait()
    assert path.exists()
    scene.start(Proxy(scene.folder, listener(path, "again"), "second"))
    equal(curl("--unix-socket", str(path), "http://a/"), "again")


@suite.case
def sighups_under_load_lose_no_connection(scene):
    path = scene.folder / "in.sock"
    proxy = scene.start(Proxy(scene.folder, listener(path)))
    served, failures, stop = [0], [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(20)
                    connection.connect(str(path))
                    assert ask(connection).startswith(b"HTTP/1.1 200"), "no answer"
                served[0] += 1
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for reload in range(20):
        proxy.write(listener(path, f"b{reload}").replace("name: in", f"name: in{reload % 3}"))
        proxy.signal(signal.SIGHUP)
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    equal(failures, [])
    assert served[0] > 100, served
    return f"{served[0]} connections, 20 reloads"
