"""Requests a second, and latency, of a champion that `make serve` serves.

In one terminal `make serve`, in another:

    .venv/bin/python benchmarks/serving.py

Each row is one kind of request, sent by some number of clients that each wait for an answer
before they ask again; names differ from request to request by their seed. Standard output is a
table in Markdown.
"""

import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

WARM_UP = 5  # requests
Body = dict[str, Any]


def generate(n: int, **params: Any) -> Callable[[int], Body]:
    """A body for request number i, which asks for n names."""
    return lambda i: {"inputs": [], "params": {"n": n, "seed": i, **params}}


def score(count: int) -> Callable[[int], Body]:
    """A body for request number i, which asks for the scores of some names."""
    return lambda i: {"inputs": [f"name{chr(97 + (i + k) % 26)}us" for k in range(count)]}


KINDS = {
    "generate 1 name": generate(1),
    "generate 10 new names": generate(10, new=True),
    "generate 100 new names, each once": generate(100, new=True, unique=True),
    "generate 1,000 names": generate(1_000),
    "score 1 name": score(1),
    "score 100 names": score(100),
    "score 1,000 names": score(1_000),
}


def seconds_of(address: str, body: Body) -> float:
    """How long one request takes, from sending it to having read the answer."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=120) as response:
        response.read()
    return time.perf_counter() - start


def main(
    address: Annotated[str, typer.Option(help="Where it is served.")] = (
        "http://127.0.0.1:5001/invocations"
    ),
    clients: Annotated[list[int] | None, typer.Option(min=1, help="Clients at once.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each row.")] = 10,
) -> None:
    """Measure, a row a kind of request and number of clients."""
    print("| request | clients | requests/s | median, ms | 95 %, ms | longest, ms |")
    print("|---|---|---|---|---|---|")
    for kind, body in KINDS.items():
        for at_once in clients or [1, 4]:
            try:
                for i in range(WARM_UP):
                    seconds_of(address, body(i))
            except OSError as error:
                print(f'error: {address}: {error}; run "make serve" first', file=sys.stderr)
                raise typer.Exit(1) from None
            start = time.perf_counter()

            def client(
                number: int, body: Callable[[int], Body] = body, start: float = start
            ) -> list[float]:
                taken = []
                while time.perf_counter() - start < seconds:
                    taken.append(seconds_of(address, body(number + 1_000 * len(taken))))
                return taken

            with ThreadPoolExecutor(at_once) as pool:
                taken = [t * 1000 for each in pool.map(client, range(at_once)) for t in each]
            rate = len(taken) / (time.perf_counter() - start)
            high = statistics.quantiles(taken, n=20)[-1] if len(taken) > 1 else taken[0]
            print(
                f"| {kind} | {at_once} | {rate:.1f} | {statistics.median(taken):.0f} "
                f"| {high:.0f} | {max(taken):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    typer.run(main)
