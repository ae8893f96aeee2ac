"""How long is one prediction without any server? Prints the median of many, in microseconds."""

import statistics
import time

import workload

ROUNDS = 3000


def main():
    row = [((7 * number) % 13) / 13 for number in range(workload.SHAPES[0][0])]
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        workload.predict_batch([row])
        took.append(time.perf_counter() - begun)
    print(statistics.median(took[ROUNDS // 10 :]) * 1e6)


if __name__ == "__main__":
    main()
