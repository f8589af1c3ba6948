"""For an operator: is it up, how fast is it and in which phase, what does overload look like?

make serve                                                    # in another terminal
.venv/bin/python examples/operators.py                        # or cell by cell, in an editor
"""

# %% [markdown]
# # For an operator
#
# What a load balancer asks, where a request's time goes, how overload sheds instead of collapsing,
# and how new models come in while requests go on. The dashboard (`docker compose up`) draws the
# same figures; here they are by hand.

# %%
import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.client import AsyncClient, Client, DeadlineExceeded, Overloaded, ReverieError

options = argparse.ArgumentParser()
options.add_argument("--url", default=os.environ.get("REVERIE_URL", "http://127.0.0.1:8000"))
options.add_argument("--model", default="mnist-dcgan", help="a model that samples")
options.add_argument("--requests", type=int, default=100, help="ordinary requests to measure")
options.add_argument("--burst", type=int, default=40, help="large requests, all at once")
options.add_argument("--deadline", type=float, default=4.0, help="of those, in seconds")
options.add_argument("--store", type=Path, help="the service's models_store, to add a model to")
options.add_argument("--reload-port", help="port that the service was started with; default: URL's")
given = options.parse_known_args()[0]

client = Client(given.url)
http = httpx.Client(base_url=given.url)

# %% [markdown]
# ## Is it up?
#
# `/livez` answers while the process works at all: restart what fails it. `/readyz` answers 200 once
# every model is loaded and warm, and 503 again as soon as a shutdown begins: send no traffic then.

# %%
for path in ("/livez", "/readyz"):
    print(f"{path}: {http.get(path).status_code}")
for model in client.models():
    print(f"  {model.name}@{model.version} is {model.state}: {', '.join(model.capabilities)}")

# %% [markdown]
# ## How fast, and in which phase?
#
# Every answer carries `Server-Timing`, which the client reads as `.timing`. `/metrics` has the same
# for all requests, as histograms: what is counted between two scrapes is what happened in between.


# %%
def counts(name: str, **labels: str) -> dict[str, float]:
    """A histogram's cumulative counts by upper bound, summed over the labels that are not named."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                bound = sample.labels["le"]
                found[bound] = found.get(bound, 0.0) + sample.value
    return found


def quantile(q: float, before: dict[str, float], after: dict[str, float]) -> float:
    """The upper bound of the bucket that holds the quantile, in seconds."""
    grown = {bound: after[bound] - before.get(bound, 0.0) for bound in after}
    total = max(grown.values())
    return min(float(bound) for bound, count in grown.items() if count >= q * total)


PHASES = ("decode", "queue", "compute", "encode")
of_model = {"model": given.model, "operation": "sample"}
whole = "reverie_request_duration_seconds"
part = "reverie_phase_duration_seconds"
before = {None: counts(whole, **of_model)} | {p: counts(part, **of_model, phase=p) for p in PHASES}

client.sample(given.model, n=1, seed=0)  # a first one, so that the series are there
for seed in range(given.requests):
    client.sample(given.model, n=4, seed=seed)

print(f"{given.requests} requests for 4 samples each, one after another:")
after = {None: counts(whole, **of_model)} | {p: counts(part, **of_model, phase=p) for p in PHASES}
for phase, grown in after.items():
    median, tail = (1000 * quantile(q, before[phase], grown) for q in (0.5, 0.95))
    print(f"  {phase or 'in all':8} half within {median:g} ms, 95 % within {tail:g} ms")

# %% [markdown]
# ## What does overload look like?
#
# Far more work than fits, all at once. The service admits what it can finish within the deadline
# and refuses the rest at once with 429 and `Retry-After`, so that those it accepted are answered in
# time. First each request is sent once, to see what the server says; then the client tries again,
# as it does when it is left to itself, and has the time for it.


# %%
async def burst(tries: int, deadline_s: float) -> tuple[Counter[str], float]:
    """Outcomes of many large requests at once, and the slowest answer of /livez meanwhile."""
    outcomes: Counter[str] = Counter()
    slowest_s, over = 0.0, asyncio.Event()

    async def ask(seed: int, client: AsyncClient) -> None:
        try:
            await client.sample(given.model, n=512, seed=seed, diagnostics=False)
            outcomes["answered"] += 1
        except Overloaded as error:
            outcomes[f"refused, asked to come back in {error.retry_after_s:g} s"] += 1
        except DeadlineExceeded:
            outcomes["too late"] += 1

    async def watch() -> None:
        nonlocal slowest_s
        async with httpx.AsyncClient(base_url=given.url, timeout=60) as http:
            while not over.is_set():
                began = time.perf_counter()
                await http.get("/livez")
                slowest_s = max(slowest_s, time.perf_counter() - began)
                await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    async with AsyncClient(given.url, tries=tries, timeout_s=deadline_s) as client:
        await asyncio.gather(*(ask(seed, client) for seed in range(given.burst)))
    over.set()
    await watching
    return outcomes, slowest_s


for tries, deadline_s in ((1, given.deadline), (50, 30 * given.deadline)):
    outcomes, slowest_s = asyncio.run(burst(tries, deadline_s))
    print(f"{given.burst} × 512 samples, {deadline_s:g} s each, {tries} tries at most:")
    for outcome, count in outcomes.most_common():
        print(f"  {count:3} {outcome}")
    print(f"  /livez answered within {1000 * slowest_s:.0f} ms throughout")

# %% [markdown]
# ## New models, while requests go on
#
# `reverie models reload`, or SIGHUP, has the service load what its store holds now. New packages
# are verified and warmed before they are swapped in, and requests in flight end on the model they
# began with. With `--store`, a generator is added first and taken out again at the end.


# %%
def reverie(*arguments: str) -> bool:
    """Run the command; whether it succeeded."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "service.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    print("  " + (done.stdout or done.stderr).strip())
    return done.returncode == 0


def reload() -> bool:
    """Ask the service on this machine to look at its store again."""
    port = given.reload_port or str(httpx.URL(given.url).port or 80)
    return reverie("models", "reload", "--port", port)


def wait_for(name: str, *, there: bool) -> None:
    """Wait until the service has, or no longer has, a model."""
    until = time.monotonic() + 60
    while (name in [m.name for m in client.models() if m.state == "ready"]) is not there:
        assert time.monotonic() < until, f"{name} did not come or go within a minute"
        time.sleep(0.1)


answered, stop = 0, threading.Event()
failed: list[ReverieError] = []


def traffic() -> None:
    """Requests without a pause, each sent once: none may fail."""
    global answered  # noqa: PLW0603
    with Client(given.url, tries=1) as steady:
        while not stop.is_set():
            try:
                steady.sample(given.model, n=4)
                answered += 1
            except ReverieError as error:
                failed.append(error)


NEW = "visiting-generator"
requests_going_on = threading.Thread(target=traffic)
requests_going_on.start()
try:
    if given.store is None:
        if reload():
            time.sleep(2)
    else:
        generator = next(given.store.glob(f"{given.model}/*/generate.onnx"))
        if reverie("models", "add", str(generator), "--name", NEW, "--store", str(given.store)):
            try:
                if reload():
                    wait_for(NEW, there=True)
                    print(f"  {client.sample(NEW, n=4, seed=7).model} answers")
            finally:
                shutil.rmtree(given.store / NEW)
            if reload():
                wait_for(NEW, there=False)
finally:
    stop.set()
    requests_going_on.join()
print(f"meanwhile {answered} requests were answered, and {len(failed)} failed")

client.close()
http.close()
