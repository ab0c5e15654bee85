"""Processes that are the ranks of a group, on gloo over loopback."""

import contextlib
import datetime
import multiprocessing
import os
import pickle
import tempfile
import time

WAIT = 120  # seconds, on a busy machine too


def _serve(pipe, rank, size, place, timeout):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{place}", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=timeout)
    )
    groups = [dist.new_group(range(n)) for n in range(1, size)] + [dist.group.WORLD]
    while (message := pipe.recv_bytes()) != b"":
        n, function, arguments = pickle.loads(message)
        torch.manual_seed(rank)
        start = time.monotonic()
        try:
            result = function(groups[n - 1], *arguments)
        except Exception as error:
            result = error
        pipe.send_bytes(pickle.dumps((result, time.monotonic() - start)))
    # Without destroy_process_group(), which waits for ranks that have gone.
    os._exit(0)


class Ranks:
    """run(n, function, *arguments) calls function(group, *arguments) on the first n ranks, and returns what each returned or raised."""

    def __init__(self, size, timeout=WAIT):
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["muattn.torch.distributed"])
        self.folder = tempfile.TemporaryDirectory()
        self.pipes, self.processes = [], []
        for rank in range(size):
            ours, theirs = processes.Pipe()
            process = processes.Process(target=_serve, args=(theirs, rank, size, f"{self.folder.name}/store", timeout), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def start(self, rank, n, function, *arguments):
        self.pipes[rank].send_bytes(pickle.dumps((n, function, arguments)))

    def result(self, rank):
        """(what it returned or raised, after how many seconds)"""
        assert self.pipes[rank].poll(WAIT), f"rank {rank} hangs"
        return pickle.loads(self.pipes[rank].recv_bytes())

    def run(self, n, function, *arguments):
        for rank in range(n):
            self.start(rank, n, function, *arguments)
        return [self.result(rank)[0] for rank in range(n)]

    def close(self):
        for pipe, process in zip(self.pipes, self.processes):
            with contextlib.suppress(OSError):
                pipe.send_bytes(b"")
            process.join(2)
            if process.is_alive():
                process.kill()
        self.folder.cleanup()
