"""What a plugin's program says, and how it is served: go-plugin's handshake over gRPC."""

import asyncio
import os
import signal
import sys
import tempfile
import threading
import time

import grpc

from transom.log import to_host
from transom.mosn_calls import Calls
from transom.mtls import Front
from transom.service import Service, fault_of
from transom.stream import LEVELS

COOKIE = ("TRANSOM_PLUGIN_COOKIE", "transom.plugin.v1")
MOSN_COOKIE = ("MOSN_PLUGIN", "ON")
LARGEST = (1 << 31) - 1


class Plugin:
    """A program that the proxy starts, and what it can be used as: subclasses of StreamFilter, NetworkFilter,
    CertificateProvider, AccessLog and LogSink."""

    def __init__(self, name: str, version: str, *, filters=(), network=(), certificates=(), access_logs=(), log_sinks=()):
        self.name, self.version = name, version
        self.filters, self.network, self.certificates = list(filters), list(network), list(certificates)
        self.access_logs, self.log_sinks = list(access_logs), list(log_sinks)

    def serve(self):
        """Serves until the host ends the plugin or is gone. It speaks Transom's protocol or MOSN's, whichever the cookie in the environment names. Uses
        without a configuration, and MOSN's calls, get the one in the file that the argument -c FILE (or --config FILE) names."""
        is_mosn = os.environ.get(MOSN_COOKIE[0]) == MOSN_COOKIE[1]
        if not is_mosn and os.environ.get(COOKIE[0]) != COOKIE[1]:
            sys.exit(
                "This binary is a plugin. These are not meant to be executed directly.\n"
                "Please execute the program that consumes these plugins, which will load any plugins automatically"
            )
        try:
            front = Front(os.environ["PLUGIN_CLIENT_CERT"]) if os.environ.get("PLUGIN_CLIENT_CERT") else None
            defaults = config_of_arguments(sys.argv[1:])
        except OSError as error:
            sys.exit(f"cannot read the configuration: {error}")
        except ValueError as error:
            sys.exit(str(error))
        level = LEVELS.get(os.environ.get("TRANSOM_LOG", "info").lower(), 2)
        to_host(level)
        service = Service(self, defaults, level)
        threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
        asyncio.run(serve(service, is_mosn, front))


async def serve(service, is_mosn, front):
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Ctrl-C reaches the whole process group, and it is the host that decides when a plugin ends.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    if is_mosn:
        try:
            handler = (await Calls.prepare(service)).handler()
        except Exception as error:
            fault = fault_of(error)
            where = ".".join(fault.path) + ": " if fault.path else ""
            sys.exit(f"the configuration (argument -c FILE) is bad: {where}{fault.message}")
    else:
        handler = service.handler()
    options = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((handler, health(), controller(over)))
    path = socket_path()
    server.add_insecure_port(f"unix:{front.inner if front else path}")
    await server.start()
    if front:
        await front.listen(path)
    print(f"1|1|unix|{path}|grpc" + (f"|{front.certificate}" if front else ""), flush=True)
    # What is printed from now on becomes the host's log, as standard error does.
    os.dup2(2, 1)
    await over.wait()
    await server.stop(0.5)
    try:
        os.unlink(path)
    except OSError:
        pass
    if front:
        front.close()
    os._exit(0)  # threads of the plugin's own do not keep it


def health():
    """grpc.health.v1: SERVING."""

    async def check(_request, _context):
        return b"\x08\x01"

    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})


def controller(over):
    """plugin.GRPCController: the host ends the plugin."""

    async def shutdown(_request, _context):
        asyncio.get_running_loop().call_later(0.01, over.set)
        return b""

    return grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": grpc.unary_unary_rpc_method_handler(shutdown)})


def socket_path() -> str:
    folder = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.gettempdir()
    descriptor, path = tempfile.mkstemp(prefix="plugin", dir=folder)
    os.close(descriptor)
    os.unlink(path)
    return path


def config_of_arguments(arguments) -> bytes:
    """What the file that -c names says. Other arguments are the plugin's own."""
    for place, argument in enumerate(arguments):
        name, is_joined, file = argument.partition("=")
        if name not in ("-c", "--config"):
            continue
        if not is_joined:
            if place + 1 == len(arguments):
                sys.exit(f"{name} wants the name of a file: -c config.json")
            file = arguments[place + 1]
        with open(file, "rb") as opened:
            return opened.read()
    return b""


def watch_parent(parent):
    """A plugin of a killed host would run for ever."""
    while os.getppid() == parent:
        time.sleep(2)
    os._exit(1)
