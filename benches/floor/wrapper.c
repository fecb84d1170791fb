/* The floor of `flock FILE COMMAND...`, and with IN_PLACE that of `flock -F FILE COMMAND...`: COMMAND is a path. */

#include "bare.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/file.h>

void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;

	long file = ask(SYS_openat, AT_FDCWD, (long)arguments[1], O_RDONLY | O_CREAT | O_NOCTTY, 0666);
	if (file < 0 || ask(SYS_flock, file, LOCK_EX, 0, 0) != 0)
		leave(66);

	/* What vfork(2) is: the child borrows the memory, and this one sleeps until it has executed COMMAND. */
	long child = 0;
#ifndef IN_PLACE
	child = ask(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0);
#endif
	if (child == 0) {
		ask(SYS_execve, (long)arguments[2], (long)(arguments + 2), (long)environment, 0);
		leave(69);
	}

	int status = 0;
	if (child < 0 || ask(SYS_wait4, child, (long)&status, 0, 0) != child)
		leave(71);
	leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
}
