"""The preflight's rules as a Pulumi policy pack: `pulumi preview --policy-pack policy_pack`."""

from concurrent import futures
from pathlib import Path

import grpc
from analyzer import Analyzer
from pulumi.runtime.proto import analyzer_pb2_grpc

# Inputs of a large stack are longer than the four megabytes that grpc takes by default.
server = grpc.server(futures.ThreadPoolExecutor(), options=[("grpc.max_receive_message_length", -1)])
analyzer_pb2_grpc.add_AnalyzerServicer_to_server(Analyzer(Path(__file__).parents[1]), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
# The engine reads the port from the first line, and ends this process when it is done.
print(port, flush=True)
server.wait_for_termination()
