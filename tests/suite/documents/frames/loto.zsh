#compdef @name@
# Completion of @name@(1) for zsh, @made@.

_@function@() {
  local curcontext=$curcontext
  local -i dashes=${words[(i)--]}
  if (( dashes < CURRENT )); then
    words=("${(@)words[dashes + 1, -1]}")
    (( CURRENT -= dashes ))
    _normal
    return
  fi
  local -a state line specs
  local -A opt_args
  specs=(
@options@
  )
  _arguments -s : $specs '*:the command follows:(--)'
}

# Values by their names in the table. A short option can also be followed by an equals sign.
_@function@_value() {
  local -a times=('0.5:half a second' '10s:ten seconds' '1m:a minute' '5m:five minutes' '1h:an hour')
  compset -P '='
  case $1 in
    (FILE) _alternative 'resources:resource:_@function@_resources' 'files:lock file:_files' ;;
    (TIME) _describe 'time, such as 5, 0.5 or 1m30s' times ;;
  esac
}

# cpu, net, and the resources that the administrator has defined.
_@function@_resources() {
  compadd "$@" -- cpu net \
    ${(f)"$(sed -n 's/^[[:blank:]]*\([^#[:blank:]][^[:blank:]]*\).*/\1/p' ${LOTO_CONF:-/etc/loto.conf} 2>/dev/null)"}
}

_@function@ "$@"
