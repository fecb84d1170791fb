exec {fd_lock}>"${LOCK_FILE}"
flock -x "${fd_lock}" || { echo "ERROR: flock() failed." >&2; exit 1; }
[[critical code]]
flock -u "${fd_lock}" && echo "removed lock here" || echo "lock busy didn't remove lock .. "
[[ -e "/proc/$$/fd/${fd_lock}" ]] && eval "exec ${fd_lock}>&-"
if lsof "${lock_file}" &>/dev/random; then
echo "lock file still in use, not deleting"
else
rm -f "${lock_file}"
echo "removed lock file"
fi
