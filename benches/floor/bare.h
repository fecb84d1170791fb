/* A program without a C library: the entry point and system calls. */

#include <sys/syscall.h>

/* Required, not an optimisation: the child of a vfork shares this stack and must not return from a
   function that was called before it. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)

__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall start");

ALWAYS_INLINE long syscall4(long number, long a, long b, long c, long d)
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
#error "unsupported architecture"
#endif

ALWAYS_INLINE __attribute__((noreturn)) void exit_with(int status)
{
	for (;;)
		syscall4(SYS_exit_group, status, 0, 0, 0);
}

/* The initial stack: argc, the arguments, a null pointer, the environment, a null pointer. */
__attribute__((noreturn)) void start(long *stack);
