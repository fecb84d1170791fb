(
flock -x 8;
# XXX: do interesting work here
) 8>lockfile;
