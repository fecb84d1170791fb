/* The floor of `flock FILE COMMAND...` or, with EXEC, of `flock -F FILE COMMAND...`.
   COMMAND is a path. */

#include "bare.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/file.h>

void start(long *stack)
{
	char **args = (char **)(stack + 1);
	char **env = args + stack[0] + 1;

	long fd = syscall4(SYS_openat, AT_FDCWD, (long)args[1], O_RDONLY | O_CREAT | O_NOCTTY, 0666);
	if (fd < 0 || syscall4(SYS_flock, fd, LOCK_EX, 0, 0) != 0)
		exit_with(66);

	/* As vfork(2): the child borrows the memory, and the parent sleeps until the exec. */
	long child = 0;
#ifndef EXEC
	child = syscall4(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0);
#endif
	if (child == 0) {
		syscall4(SYS_execve, (long)args[2], (long)(args + 2), (long)env, 0);
		exit_with(69);
	}

	int status = 0;
	if (child < 0 || syscall4(SYS_wait4, child, (long)&status, 0, 0) != child)
		exit_with(71);
	exit_with(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}
