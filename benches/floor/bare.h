/* A program without a C library: where it starts, and how it asks the kernel. */

#include <sys/syscall.h>

#define ALWAYS static inline __attribute__((always_inline))

/* Always inlined: the child of a vfork shares this stack and must not return from a call made before it. */
#if defined(__x86_64__)

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin");

ALWAYS long ask(long number, long a, long b, long c, long d)
{
	register long fourth __asm__("r10") = d;
	register long fifth __asm__("r8") = 0;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
			 : "rcx", "r11", "memory");
	return result;
}

#else
#error "not written for this processor"
#endif

ALWAYS __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		ask(SYS_exit_group, status, 0, 0, 0);
}

/* The stack as the kernel hands it over: argc, the arguments, a null, the environment, a null. */
__attribute__((noreturn)) void begin(long *stack);
