// Calls a XenAPI plugin as xapi does: for each call a fork and an exec, the call as an argument, the answer from a pipe.
//
//   fork-exec SECONDS CALL PROGRAM [ARGUMENT…]
//
// Prints a line of JSON: calls, seconds, and cpuUs, the CPU (user + system) of the children in all, in microseconds.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void call(char **argv) {
  int ends[2], status;
  char answer[4096];
  size_t have = 0;
  if (pipe(ends)) perror("pipe"), exit(1);
  pid_t child = fork();
  if (child < 0) perror("fork"), exit(1);
  if (child == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    close(ends[1]);
    execv(argv[0], argv);
    _exit(127);
  }
  close(ends[1]);
  for (ssize_t count; (count = read(ends[0], answer + have, sizeof answer - 1 - have)) > 0;) have += (size_t)count;
  answer[have] = 0;
  close(ends[0]);
  waitpid(child, &status, 0);
  if (status != 0 || !strstr(answer, "hello from the service")) {
    fprintf(stderr, "not the answer that is expected (status %d): %s\n", status, answer);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  // The call goes after the program's own arguments.
  char **of = calloc((size_t)argc, sizeof *of);
  for (int index = 3; index < argc; index++) of[index - 3] = argv[index];
  of[argc - 3] = argv[2];
  double begin = now(), end = begin + atof(argv[1]);
  long calls = 0;
  do call(of), calls++;
  while (now() < end);
  struct rusage use;
  getrusage(RUSAGE_CHILDREN, &use);
  double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  printf("{\"calls\":%ld,\"seconds\":%.6f,\"cpuUs\":%.1f}\n", calls, now() - begin, cpu);
}
