"""tritonclient talks to an instance that serves a version of the tests' model (tests/it/kafka/model.rs)."""

import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

address, token, version = sys.argv[1:]
client = InferenceServerClient(address)
headers = {"Authorization": f"Bearer {token}"}
low, high = int(version) * 10, int(version) * 10 + 1


def tensor(name, values, datatype, **more):
    values = np.array(values, dtype=np.object_ if datatype == "BYTES" else np.float64)
    tensor = InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, **{"binary_data": False, **more})
    return tensor


def infer(inputs, headers=headers, **more):
    return client.infer("tiny", inputs, headers=headers, **more)


def is_refused(status, what, call):
    try:
        call()
    except InferenceServerException as refused:
        assert status in str(refused.status()) and what in refused.message(), refused
    else:
        raise AssertionError(f"expected {status} {what}")


assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata()["name"] == "foretell"
assert client.is_model_ready("tiny") and client.is_model_ready("tiny", version)
assert not client.is_model_ready("tiny", "999") and not client.is_model_ready("other")
metadata = client.get_model_metadata("tiny")
assert metadata["versions"] == [version], metadata
assert [(it["name"], it["datatype"]) for it in metadata["inputs"]] == [("x", "FP64"), ("kind", "BYTES")]

columns = [tensor("x", [1.0, 700.0], "FP64"), tensor("kind", ["a", "b"], "BYTES")]
answer = infer(columns, request_id="one")
assert answer.get_response()["id"] == "one" and answer.get_response()["model_version"] == version
assert answer.as_numpy("prediction").tolist() == [low, high]

nested = [tensor("x", [[1.0], [700.0]], "FP64")]
wanted = [InferRequestedOutput("prediction", binary_data=False)]
assert infer(nested, outputs=wanted, model_version=version).as_numpy("prediction").tolist() == [low, high]

events = [tensor("event", ['{"x":1,"kind":"a"}', '{"x":700}'], "BYTES")]
assert infer(events).as_numpy("prediction").tolist() == [low, high]

is_refused("401", "token", lambda: infer(columns, headers={}))
is_refused("404", "version", lambda: infer(columns, model_version="999"))
is_refused("400", "unknown_category", lambda: infer([columns[0], tensor("kind", ["a", "c"], "BYTES")]))
is_refused("400", "binary", lambda: infer([tensor("x", [1.0], "FP64", binary_data=True)]))
print(f"tritonclient and version {version} understand each other")
