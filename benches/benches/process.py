"""CPython's ProcessPoolExecutor on the same jobs, for benches/process.rs.

Prints `name value` lines: microseconds a task, speed-ups, milliseconds.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor


def trivial(n):
    return n + 1


def same(payload):
    return payload


def is_prime(n):
    if n < 4:
        return n >= 2
    if n % 2 == 0 or n % 3 == 0:
        return False
    at = 5
    while at * at <= n:
        if n % at == 0 or n % (at + 2) == 0:
            return False
        at += 6
    return True


def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    quick = "--quick" in sys.argv
    print("start", timed(start) * 1e3)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(trivial, range(100)))
        for chunk, items in (1, 5_000), (100, 100_000), (1000, 200_000):
            items = items // 20 if quick else items
            took = timed(lambda: list(pool.map(trivial, range(items), chunksize=chunk)))
            print(f"trivial/{chunk}", took / items * 1e6)
        numbers = range(1_000_000, 1_000_000 + (2_000 if quick else 200_000))
        alone = timed(lambda: [is_prime(n) for n in numbers])
        for chunk in 1, 100, 1000:
            some = numbers[:20_000] if chunk == 1 else numbers
            took = timed(lambda: list(pool.map(is_prime, some, chunksize=chunk)))
            print(f"primes/{chunk}", alone * len(some) / len(numbers) / took)
        payload = bytes(64 << 20)
        print("64MiB", timed(lambda: pool.submit(same, payload).result()) * 1e3)


def start():
    with ProcessPoolExecutor(2) as pool:
        for task in [pool.submit(trivial, n) for n in range(2)]:
            task.result()


if __name__ == "__main__":
    main()
