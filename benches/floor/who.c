/* The floor of --who: reads the record of every descriptor of every process, and looks at none. */

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

/* Opens a directory, and calls a function with each numeric entry. */
static void visit(int parent, const char *path, void (*f)(int dir, const char *name))
{
	int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? 0 : fdopendir(fd);
	struct dirent *entry;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			f(fd, entry->d_name);
	if (dir)
		closedir(dir);
}

static void read_descriptor(int dir, const char *name)
{
	char text[4096];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, text, sizeof text) >= 0)
		close(fd);
}

static void visit_descriptors(int dir, const char *name)
{
	char path[32] = { 0 }, *end = path;
	while (*name && end < path + 16)
		*end++ = *name++;
	for (const char *rest = "/fdinfo"; *rest;)
		*end++ = *rest++;
	visit(dir, path, read_descriptor);
}

int main(void)
{
	visit(AT_FDCWD, "/proc", visit_descriptors);
}
