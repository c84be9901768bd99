"""numpy's or torch's matrix products, in a process of their own: `python products.py numpy|torch THREADS`.

numpy's BLAS takes its number of threads from the environment.
"""

import functools
import statistics
import sys
import time

import numpy
from protocol import serve


def operand(*shape):
    """products.ts has the same."""
    i = numpy.arange(numpy.prod(shape), dtype=numpy.uint64)
    bits = ((i * numpy.uint64(0x9E3779B1)) & numpy.uint64(0xFFFFFFFF)).astype(numpy.uint32)
    return (bits.view(numpy.int32) / 2.0**32).astype(numpy.float32).reshape(shape)


def with_numpy(m, n, k):
    x, w, y = operand(m, k), operand(n, k), numpy.empty((m, n), numpy.float32)
    return lambda: numpy.matmul(x, w.T, out=y)


def with_torch(m, n, k):
    x, w = torch.from_numpy(operand(m, k)), torch.from_numpy(operand(n, k))
    return lambda: torch.nn.functional.linear(x, w)


# Operands stay until another shape is asked for.
@functools.lru_cache(maxsize=1)
def ready(m, n, k):
    return product(m, n, k)


def answer(request):
    run = ready(request["M"], request["N"], request["K"])
    for _ in range(3):
        run()
    times = []
    end = time.perf_counter() + request["seconds"]
    while len(times) < 3 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return {"seconds": statistics.median(times), "runs": len(times), "last": float(run()[-1, -1])}


library, threads = sys.argv[1:]
if library == "torch":
    import torch

    torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    product = with_torch
else:
    product = with_numpy
serve(answer)
