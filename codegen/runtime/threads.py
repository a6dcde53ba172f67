"""Worker threads that run one program together (SPMD), without the GIL.

A pool has n - 1 workers; the caller is thread 0. The workers' loop, the barrier and the start of a job
are LLVM IR below, compiled once: workers spin for a moment after a job, since the next training step is
usually near, and then sleep on a condition variable, giving the core back.

Memory of a pool, in 64-bit words (each group on its own cache lines):

    0 epoch   8 job   9 argument   10 threads   16 arrived   24 generation   32 sleepers   40 stop
    64 mutex  80 condition   96 turn: a mutex, held while a job runs
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import threading
from functools import cache

import numpy as np

from ..cpu import Code, compile_once

POOL_WORDS = 128
SPINS_BEFORE_SLEEP = 4000
SPINS_BEFORE_YIELD = 100  # then the core may be wanted by the thread we wait for

PAUSE = {
    "x86_64": 'call void asm sideeffect "pause", "~{memory}"()',
    "aarch64": 'call void asm sideeffect "yield", "~{memory}"()',
    "arm64": 'call void asm sideeffect "yield", "~{memory}"()',
}.get(platform.machine(), 'call void asm sideeffect "", "~{memory}"()')

BARRIER_IR = f"""
declare i32 @sched_yield()

define void @barrier(ptr %pool, i64 %threads) noinline nounwind {{
entry:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %arrived = getelementptr i64, ptr %pool, i64 16
  %generation = getelementptr i64, ptr %pool, i64 24
  %mine = load atomic i64, ptr %generation acquire, align 8
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %now = add i64 %before, 1
  %last = icmp eq i64 %now, %threads
  br i1 %last, label %release, label %wait
release:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %mine, 1
  store atomic i64 %next, ptr %generation release, align 8
  br label %done
wait:
  %spins = phi i64 [ 0, %arrive ], [ %more, %again ]
  %seen = load atomic i64, ptr %generation acquire, align 8
  %open = icmp ne i64 %seen, %mine
  br i1 %open, label %done, label %spin
spin:
  %long = icmp ugt i64 %spins, {SPINS_BEFORE_YIELD}
  br i1 %long, label %yield, label %pause
yield:
  %ignored = call i32 @sched_yield()
  br label %again
pause:
  {PAUSE}
  br label %again
again:
  %more = add i64 %spins, 1
  br label %wait
done:
  ret void
}}
"""

POOL_IR = f"""
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)

define void @pool_init(ptr %pool) nounwind {{
  %mutex = getelementptr i64, ptr %pool, i64 64
  %cond = getelementptr i64, ptr %pool, i64 80
  %turn = getelementptr i64, ptr %pool, i64 96
  %a = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %c = call i32 @pthread_mutex_init(ptr %turn, ptr null)
  %b = call i32 @pthread_cond_init(ptr %cond, ptr null)
  ret void
}}

define void @pool_start(ptr %pool) nounwind {{
entry:
  %mutex = getelementptr i64, ptr %pool, i64 64
  %cond = getelementptr i64, ptr %pool, i64 80
  %sleepers = getelementptr i64, ptr %pool, i64 32
  %old = atomicrmw add ptr %pool, i64 1 seq_cst
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %some = icmp ne i64 %asleep, 0
  br i1 %some, label %wake, label %done
wake:
  %a = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %cond)
  %c = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %done
done:
  ret void
}}

define void @pool_run(ptr %pool, ptr %job, ptr %argument, i64 %threads) nounwind {{
entry:
  %turn = getelementptr i64, ptr %pool, i64 96
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %run, label %together
run:
  call void %job(ptr %argument, i64 0, i64 1)
  ret void
together:
  %a = call i32 @pthread_mutex_lock(ptr %turn)
  %job.slot = getelementptr i64, ptr %pool, i64 8
  %argument.slot = getelementptr i64, ptr %pool, i64 9
  store ptr %job, ptr %job.slot, align 8
  store ptr %argument, ptr %argument.slot, align 8
  call void @pool_start(ptr %pool)
  call void %job(ptr %argument, i64 0, i64 %threads)
  call void @barrier(ptr %pool, i64 %threads)
  %b = call i32 @pthread_mutex_unlock(ptr %turn)
  ret void
}}

define void @pool_stop(ptr %pool) nounwind {{
entry:
  %turn = getelementptr i64, ptr %pool, i64 96
  %stop.slot = getelementptr i64, ptr %pool, i64 40
  %a = call i32 @pthread_mutex_lock(ptr %turn)
  store atomic i64 1, ptr %stop.slot release, align 8
  call void @pool_start(ptr %pool)
  %b = call i32 @pthread_mutex_unlock(ptr %turn)
  ret void
}}

define void @pool_worker(ptr %pool, i64 %tid, i64 %threads) nounwind {{
entry:
  %mutex = getelementptr i64, ptr %pool, i64 64
  %cond = getelementptr i64, ptr %pool, i64 80
  %sleepers = getelementptr i64, ptr %pool, i64 32
  %stop.slot = getelementptr i64, ptr %pool, i64 40
  %job.slot = getelementptr i64, ptr %pool, i64 8
  %argument.slot = getelementptr i64, ptr %pool, i64 9
  br label %next
next:
  %done = phi i64 [ 0, %entry ], [ %epoch, %work ]
  br label %spin
spin:
  %spins = phi i64 [ 0, %next ], [ %more, %pause ]
  %now = load atomic i64, ptr %pool acquire, align 8
  %new = icmp ne i64 %now, %done
  br i1 %new, label %ready, label %tired
tired:
  %enough = icmp ugt i64 %spins, {SPINS_BEFORE_SLEEP}
  br i1 %enough, label %sleep, label %pause
pause:
  {PAUSE}
  %more = add i64 %spins, 1
  br label %spin
sleep:
  %a = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = atomicrmw add ptr %sleepers, i64 1 seq_cst
  br label %check
check:
  %still = load atomic i64, ptr %pool seq_cst, align 8
  %wake = icmp ne i64 %still, %done
  br i1 %wake, label %awake, label %wait
wait:
  %c = call i32 @pthread_cond_wait(ptr %cond, ptr %mutex)
  br label %check
awake:
  %d = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  %e = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %ready
ready:
  %epoch = load atomic i64, ptr %pool acquire, align 8
  %stop = load atomic i64, ptr %stop.slot acquire, align 8
  %ending = icmp ne i64 %stop, 0
  br i1 %ending, label %end, label %work
work:
  %job = load ptr, ptr %job.slot, align 8
  %argument = load ptr, ptr %argument.slot, align 8
  call void %job(ptr %argument, i64 %tid, i64 %threads)
  call void @barrier(ptr %pool, i64 %threads)
  br label %next
end:
  ret void
}}
"""


@cache
def _native() -> tuple[Code, dict[str, int]]:
    code = compile_once(BARRIER_IR + POOL_IR)
    return code, {n: code.address(n) for n in ("pool_init", "pool_run", "pool_stop", "pool_worker")}


class Pool:
    """`threads` threads, of which the caller is one. Jobs of several threads run one at a time."""

    def __init__(self, threads: int) -> None:
        _, functions = _native()
        self.threads = threads
        memory = np.zeros(POOL_WORDS + 8, np.int64)  # from a cache line's start
        skip = (-memory.ctypes.data // 8) % 8
        self.memory = memory[skip : skip + POOL_WORDS]
        self.address = self.memory.ctypes.data
        pointer, word = ctypes.c_void_p, ctypes.c_int64
        self.start = functions["pool_run"]  # (pool, job, argument, threads)
        self._run = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, word)(self.start)
        self._stop = ctypes.CFUNCTYPE(None, pointer)(functions["pool_stop"])
        ctypes.CFUNCTYPE(None, pointer)(functions["pool_init"])(self.address)
        work = ctypes.CFUNCTYPE(None, pointer, word, word)(functions["pool_worker"])
        self.workers = [
            threading.Thread(target=work, args=(self.address, t, threads), daemon=True, name=f"graphnet-{t}")
            for t in range(1, threads)
        ]
        for w in self.workers:
            w.start()

    def run(self, job: int, argument: int) -> None:
        """Calls the native function job(argument, thread, threads) on every thread. When it returns all
        have left the job's code, which may then be freed."""
        self._run(self.address, job, argument, self.threads)

    def stop(self) -> None:
        """Ends the workers."""
        self._stop(self.address)
        for w in self.workers:
            w.join()


_pools: dict[tuple[int, int], Pool] = {}


def pool(threads: int) -> Pool:
    """The process's pool of that many threads (a forked child makes its own)."""
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = Pool(threads)
    return _pools[key]


@atexit.register
def _stop_all() -> None:
    for (pid, _), p in list(_pools.items()):
        if pid == os.getpid():
            p.stop()
    _pools.clear()
