// Runs a program as systemd would on an old host: as-on-host ROOT CAPABILITIES UID GID PROGRAM ARGUMENT…
// Below the directory ROOT, with a bounding set of capabilities (a mask), as a user, and on a kernel that has no system call
// which is newer than Linux 4.19: those answer ENOSYS.

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

// rseq, the last one of 4.19 on x86-64.
#define LAST_CALL 334

static void require(int result, const char *what) {
  if (result == 0) return;
  perror(what);
  exit(126);
}

static void forget_new_calls(void) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_CALL, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog filter = { sizeof code / sizeof *code, code };
  require(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "seccomp");
}

int main(int count, char **argument) {
  if (count < 6) return 2;
  unsigned long long kept = strtoull(argument[2], NULL, 0);
  require(chroot(argument[1]) || chdir("/"), "chroot");
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
    if (!(kept >> capability & 1)) require(prctl(PR_CAPBSET_DROP, capability), "bounding set");
  gid_t group = atoi(argument[4]);
  require(setgroups(1, &group) || setgid(group) || setuid(atoi(argument[3])), "user");
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
  forget_new_calls();
  execv(argument[5], argument + 5);
  perror(argument[5]);
  return 127;
}
