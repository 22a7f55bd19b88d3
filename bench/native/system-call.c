// What a bare system call costs: getppid, which does nothing but go into the kernel and back.
//
//   system-call
//
// Prints nanoseconds: the median of 15 rounds of 200,000 calls, the loop around them included (a nanosecond or less).
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 15
#define CALLS 200000

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(void) {
  double rounds[ROUNDS];
  for (int round = 0; round < ROUNDS; round++) {
    double begin = now();
    for (int call = 0; call < CALLS; call++) syscall(SYS_getppid);
    rounds[round] = (now() - begin) / CALLS;
  }
  qsort(rounds, ROUNDS, sizeof *rounds, by_size);
  printf("%.1f\n", rounds[ROUNDS / 2]);
}
