"""What a stage takes of its machine, under the names by which MLflow shows system metrics.

MLflow's own monitor samples every ten seconds, which is longer than most stages, and sends
from a thread of its own, past the journal.
"""

from contextlib import suppress

import psutil
import torch

MEGABYTE = 1_000_000


def usage() -> dict[str, float]:
    """What is in use now.

    Returns:
        Of all cores, per cent since the last call (since the process began, at the first); of
        this process and those it started, memory in megabytes; of each GPU that computes here,
        its memory in megabytes and per cent.
    """
    process = psutil.Process()
    memory = process.memory_info().rss
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            memory += child.memory_info().rss
    found = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/process_memory_megabytes": memory / MEGABYTE,
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for i in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(i)
            found[f"system/gpu_{i}_memory_usage_megabytes"] = (total - free) / MEGABYTE
            found[f"system/gpu_{i}_memory_usage_percentage"] = 100 * (total - free) / total
    return found
