"""A typed client of the service, blocking and async, for every operation and for bulk orders.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        client.sample("mnist-dcgan", n=16, seed=7).images()[0].save("digit.png")

operations, catalogue, ordering ──► Request ──blocking | asynchronous──► Reply ──answers──► results
"""

from service.client.asynchronous import AsyncClient
from service.client.asynchronous_orders import AsyncOrder
from service.client.blocking import Client
from service.client.blocking_orders import Order
from service.client.errors import (
    BadAnswer,
    ChecksumMismatch,
    Conflict,
    DeadlineExceeded,
    FieldProblem,
    Invalid,
    NoSpace,
    NotFound,
    OrderFailed,
    Overloaded,
    ReverieError,
    ServerFailed,
    TooLarge,
    Unauthorised,
    Unavailable,
    Unreachable,
)
from service.client.ordering import OrderFile, OrderStatus, Progress
from service.client.results import (
    Classes,
    Diagnostics,
    Features,
    Fillings,
    Frames,
    Model,
    Reconstructions,
    Samples,
    Scores,
    Timing,
)

__all__ = [
    "AsyncClient",
    "AsyncOrder",
    "BadAnswer",
    "ChecksumMismatch",
    "Classes",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "Diagnostics",
    "Features",
    "FieldProblem",
    "Fillings",
    "Frames",
    "Invalid",
    "Model",
    "NoSpace",
    "NotFound",
    "Order",
    "OrderFailed",
    "OrderFile",
    "OrderStatus",
    "Overloaded",
    "Progress",
    "Reconstructions",
    "ReverieError",
    "Samples",
    "Scores",
    "ServerFailed",
    "Timing",
    "TooLarge",
    "Unauthorised",
    "Unavailable",
    "Unreachable",
]
