"""What an application that only calls the service has to load."""

from __future__ import annotations

import inspect
import subprocess
import sys

from service.client import AsyncClient, Client

HEAVY = ("fastapi", "onnxruntime", "pandas", "prometheus_client", "pyarrow", "pydantic", "torch")


def test_the_client_loads_neither_web_framework_nor_runtime_nor_data_libraries():
    program = f"import service.client, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_methods_describe_themselves_as_if_they_had_been_written_out():
    for kind in (Client, AsyncClient):
        sample, augment = inspect.signature(kind.sample), inspect.signature(kind.augment)
        assert list(sample.parameters)[:4] == ["self", "model", "n", "seed"]
        assert sample.return_annotation == "Samples"
        assert augment.return_annotation.endswith("Order")
        assert "draws from the model" in (kind.sample.__doc__ or "")


def test_both_clients_can_do_the_same():
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
