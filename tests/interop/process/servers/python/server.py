"""A server of Envoy's services that does what a script says: ExternalProcessor, Authorization, AccessLogService.

    server.py SCRIPT SEEN

prints the port that it listens on. SCRIPT is read at the beginning of every call; what is received is added to SEEN, a line of JSON each. For
ExternalProcessor it maps the kind of a message (`request_headers`, `response_body`, …) to a list of steps, of which each message takes the
next, and the last again and again: `{"answer": ProcessingResponse}`, `{"sleep": seconds}`, `{"end": gRPC status}`, or a list of those. Without
a step the answer is empty and of the message's kind. For Authorization `check` is such a list of CheckResponses.
"""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.service.ext_proc.v3 import external_processor_pb2, external_processor_pb2_grpc
from google.protobuf import json_format

SCRIPT, SEEN = sys.argv[1:3]
lock = threading.Lock()


def note(call: str, message, **more):
    line = {"call": call, "message": json_format.MessageToDict(message, preserving_proto_field_name=True), **more}
    with lock, open(SEEN, "a") as file:
        file.write(json.dumps(line) + "\n")


def script() -> dict:
    with open(SCRIPT) as file:
        return json.load(file)


class Steps:
    def __init__(self, script: dict):
        self.script = {kind: list(steps) for kind, steps in script.items()}

    def next(self, kind: str) -> list:
        steps = self.script.get(kind, [{"answer": None}])
        if not steps:
            return []
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        return step if isinstance(step, list) else [step]


def act(step: dict, context, parse):
    if "sleep" in step:
        time.sleep(step["sleep"])
    elif "end" in step:
        if step["end"]:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as the script says")
    elif "answer" in step:
        return parse(step["answer"])
    return None


class Processor(external_processor_pb2_grpc.ExternalProcessorServicer):
    def Process(self, requests, context):
        steps = Steps(script())
        metadata = {name: value for name, value in context.invocation_metadata() if name.startswith("x-")}
        for request in requests:
            kind = request.WhichOneof("request")
            note("ext_proc", request, metadata=metadata)
            for step in steps.next(kind):
                if step.get("end") == 0:
                    return
                answer = act(step, context, lambda answer: self.answer(kind, answer))
                if answer is not None:
                    yield answer

    @staticmethod
    def answer(kind: str, answer: dict | None):
        response = external_processor_pb2.ProcessingResponse()
        if answer is None:
            getattr(response, kind).SetInParent()
        else:
            json_format.ParseDict(answer, response)
        return response


class Authorization(external_auth_pb2_grpc.AuthorizationServicer):
    def Check(self, request, context):
        note("ext_authz", request)
        for step in Steps(script()).next("check"):
            answer = act(step, context, lambda answer: json_format.ParseDict(answer or {}, external_auth_pb2.CheckResponse()))
            if answer is not None:
                return answer
        return external_auth_pb2.CheckResponse()


class AccessLog(als_pb2_grpc.AccessLogServiceServicer):
    def StreamAccessLogs(self, requests, context):
        for request in requests:
            note("als", request)
        return als_pb2.StreamAccessLogsResponse()


server = grpc.server(ThreadPoolExecutor(max_workers=32))
external_processor_pb2_grpc.add_ExternalProcessorServicer_to_server(Processor(), server)
external_auth_pb2_grpc.add_AuthorizationServicer_to_server(Authorization(), server)
als_pb2_grpc.add_AccessLogServiceServicer_to_server(AccessLog(), server)
# A third argument is where it listens; else the system chooses, and it says where.
print(server.add_insecure_port(sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
