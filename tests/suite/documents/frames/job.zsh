#compdef @name@
# Completion of @name@(1) for zsh, @made@.

_@function@() {
  local curcontext=$curcontext
  local -a state line specs
  local -A opt_args
  specs=(
@options@
  )
  _arguments -s -S : $specs '1:lock file:_files' '*:::command: _@function@_command_line'
}

_@function@_command_line() {
  local ret=1
@first word@
  _normal && ret=0
  return ret
}

_@function@ "$@"
