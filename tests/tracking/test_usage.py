import subprocess
import sys

import numpy as np
import torch

from nomosaurus.tracking.usage import usage

MEMORY = "system/process_memory_megabytes"


def test_memory_grows_by_what_is_taken():
    before = usage()[MEMORY]
    taken = np.ones(25_000_000)  # 200 megabytes
    assert 190 < usage()[MEMORY] - before < 230
    del taken


def test_memory_of_child_processes_counts():
    before = usage()[MEMORY]
    code = "taken = b'x' * 200_000_000; print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert usage()[MEMORY] - before > 195
        child.communicate(b"\n")


def test_cores_are_used_between_not_at_all_and_fully():
    assert 0 <= usage()["system/cpu_utilization_percentage"] <= 100


def test_a_gpu_that_computes_here_is_counted(monkeypatch):
    assert not any("gpu" in key for key in usage())
    for name, value in (("is_available", True), ("is_initialized", True), ("device_count", 1)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (6_000_000_000, 8_000_000_000))
    found = usage()
    assert found["system/gpu_0_memory_usage_megabytes"] == 2000
    assert found["system/gpu_0_memory_usage_percentage"] == 25
