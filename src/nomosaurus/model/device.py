"""Where a model computes, and what makes its bytes repeat there."""

import os

import torch

from nomosaurus.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """The device that train.device asks for; `auto` takes a GPU if there is one.

    Raises:
        DeviceError: If it is not available on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, here in available.items() if here)
    if not available[name]:
        raise DeviceError(
            f"train.device is {name!r}, which this machine or this build of torch does not "
            'have; use "auto" or "cpu"'
        )
    return torch.device(name)


def make_repeatable(num_threads: int) -> None:
    """Fix what would change the bytes from one process to the next.

    The number of threads decides in which order numbers are added up, so it is a
    param and not the machine's count of cores, whatever OMP_NUM_THREADS says. On a
    GPU, kernels that add in no fixed order are refused.
    """
    torch.set_num_threads(num_threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same as use_deterministic_algorithms(True), which would also import torch's compiler:
    # seconds in each process, for nothing that is used here.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory before it is written. Filling it all the same, which comes with
    # the line above, takes a sixth of the time with a vocabulary of thousands. (The attribute is
    # a property of the module's own class, which mypy does not see.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
