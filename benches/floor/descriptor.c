/* The floor of `flock -n 8`: a single system call and the exit. */

#include "bare.h"
#include <sys/file.h>

void start(long *stack)
{
	(void)stack;
	exit_with(syscall4(SYS_flock, 8, LOCK_EX | LOCK_NB, 0, 0) != 0);
}
