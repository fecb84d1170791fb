/* setjmp(3) returns twice, which Rust cannot express: hence these few lines of C. */

#include <setjmp.h>
#include <string.h>

/*
 * Calls function(argument) while `target` leads here. `target` is where bash jumps when the shell
 * exits or a command is abandoned (its `top_level`); it is restored afterwards.
 *
 * Returns the function's result and stores 0 in `jump`. If bash jumped, stores the value that it
 * jumped with.
 */
int flock_catch(sigjmp_buf *target, int (*function)(void *), void *argument, int *jump)
{
    sigjmp_buf saved;
    volatile int status = 0;

    memcpy(&saved, target, sizeof saved);
    *jump = sigsetjmp(*target, 0);
    if (*jump == 0)
        status = function(argument);
    memcpy(target, &saved, sizeof saved);
    return status;
}
