/* setjmp(3) returns twice, and Rust has no way to say so: these few lines are C. */

#include <setjmp.h>
#include <string.h>

/*
 * Calls a function with `place`, which bash jumps to when the shell exits or a command is given up (its `top_level`), moved
 * to here, and puts it back. Returns what the function returns, and 0 in `jump`; or, if bash jumped, in `jump` the value
 * that it jumped with.
 */
int flock_catch(sigjmp_buf *place, int (*function)(void *), void *argument, int *jump)
{
    sigjmp_buf before;
    volatile int status = 0;

    memcpy(&before, place, sizeof before);
    *jump = sigsetjmp(*place, 0);
    if (*jump == 0)
        status = function(argument);
    memcpy(place, &before, sizeof before);
    return status;
}
