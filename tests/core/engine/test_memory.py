from __future__ import annotations

import torch

from dlpipe.engine.memory import memory_in_use


def test_on_the_cpu_what_the_process_holds_is_counted():
    in_use = memory_in_use(torch.device("cpu"))
    before = in_use()

    held = torch.ones(20_000_000)  # 80 MB, written to

    assert in_use() - before > 60_000_000
    assert held.numel() > 0
