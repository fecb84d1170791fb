/* The floor of the builtin: the calls of the kernel that locking needs, in a builtin that looks at
   nothing but the first letters of its words. `floor -x 8` and `floor -u 8` lock and unlock a
   descriptor; `floor FILE FUNCTION` calls a function under a lock. */

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct word { char *text; int flags; };
struct words { struct words *next; struct word *word; };

/* Of bash. */
struct function;
extern struct function *find_function(const char *);
extern int execute_shell_function(struct function *, struct words *);

static int lock_file(struct words *words)
{
	struct stat opened, named;
	int fd = open(words->word->text, O_RDONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0666);
	if (fd < 0 || fstat(fd, &opened) || flock(fd, LOCK_EX | LOCK_NB) || stat(words->word->text, &named))
		return 66;
	int status = execute_shell_function(find_function(words->next->word->text), words->next);
	flock(fd, LOCK_UN);
	close(fd);
	return status;
}

static int run(struct words *words)
{
	const char *first = words->word->text;
	if (first[0] != '-')
		return lock_file(words);
	int operation = first[1] == 'u' ? LOCK_UN : LOCK_EX | LOCK_NB;
	return flock(atoi(words->next->word->text), operation) ? 1 : 0;
}

static char *help[] = { "floor", 0 };
struct { char *name; int (*f)(struct words *); int flags; char *const *l; const char *s; char *h; }
	floor_struct = { "floor", run, 1, help, "floor", 0 };
