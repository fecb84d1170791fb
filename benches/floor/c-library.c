/* The floor of `flock -n 8`, after the start of a C library: what it adds is the same for all rows. */

#include <sys/file.h>

int main(void)
{
	return flock(8, LOCK_EX | LOCK_NB) != 0;
}
