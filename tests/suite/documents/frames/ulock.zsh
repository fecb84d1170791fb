#compdef @name@
# Completion of @name@(1) for zsh, @made@.

_@function@() {
  local curcontext=$curcontext
  local -a state line specs
  local -A opt_args
  specs=(
@options@
  )
  _arguments -s -S : $specs '1:lock file:_files' '2:counter file:_files' '*:::command: _@function@_command'
}

# Only readers run a command.
_@function@_command() {
  (( $+opt_args[-r] )) && _normal
}

# Values by their names in the table.
_@function@_value() {
  local -a times=('0:not at all' 10:seconds '60:a minute' '5m:five minutes' '1h:an hour')
  case $1 in
    (SECONDS) _describe 'time, such as 60 or 5m' times ;;
  esac
}

_@function@ "$@"
