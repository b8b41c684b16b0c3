"""Training in several processes, each on its part of every batch; torchrun starts them.

Without torchrun there is one process, and nothing here costs time.
"""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from nextvit.tasks.task import Shard

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Index of this process on its machine, and of its GPU."""
    restarts: int = 0
    """How often torchrun has restarted all processes."""
    local_size: int = 1
    """Processes on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def total(self, values: Tensor) -> Tensor:
        """Sum values over all processes, in place; every process gets the sum."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes in the order of their ranks; every process gets all."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    @property
    def shard(self) -> Shard:
        """This process's part of an evaluation."""
        return Shard(index=self.rank, count=self.size, gather=self.gather)

    def share_buffers(self, model: nn.Module) -> None:
        """Broadcast the first process's batch-norm statistics."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wrap the model so that its gradients are averaged over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def world_from_environment() -> World:
    """Read the environment variables that torchrun sets; without them there is one process."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT", "LOCAL_WORLD_SIZE")
    rank, size, local_rank, restarts, local_size = (
        int(os.environ.get(name, default)) for name, default in zip(names, "01001", strict=True)
    )
    return World(rank, size, local_rank, restarts, local_size)


@contextmanager
def join_processes(world: World, device: torch.device) -> Generator[None]:
    """Join the other processes for as long as the block runs: nccl between GPUs, gloo otherwise."""
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ["LOCAL_WORLD_SIZE"] == str(world.size):
        # torchrun keeps one store through all restarts (seen with torch 2.15), and it contains the addresses of dead
        # processes. On one machine a prefix with the number of restarts separates them. With several machines only
        # TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 helps, as docs/distributed.md says.
        store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)  # pyright: ignore[reportPrivateImportUsage]
        own = distributed.PrefixStore(f"start {world.restarts}", store)  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group(backend, store=own, rank=world.rank, world_size=world.size)
    else:
        distributed.init_process_group(backend)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def convert_batch_norms(model: nn.Module) -> None:
    """Convert batch norms, in place, so that they see the whole batch of all processes; torch has these only on
    GPUs."""
    nn.SyncBatchNorm.convert_sync_batchnorm(model)


def skip_gradient_sync(parallel: nn.Module, *, last_part: bool) -> AbstractContextManager[Any]:
    """A context without exchange of gradients: while they accumulate, only the last part needs the exchange."""
    if isinstance(parallel, DistributedDataParallel) and not last_part:
        return parallel.no_sync()
    return nullcontext()
