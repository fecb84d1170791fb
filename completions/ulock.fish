# Completion of ulock(1) for fish, made whole by `make docs`; its frame is in tests/suite/documents.

# Sets `places`, what can stand at the cursor: option (also its value), file, command; and `words`, those of the command
# before the cursor.
function __ulock_read --no-scope-shadowing
    set places
    set words (commandline -opc)
    set -e words[1]
    set -l files 0
    set -l ended
    set -l reader
    while set -q words[1]
        if test -z "$ended"; and test $words[1] = --
            set ended yes
        else if test -z "$ended"; and string match -q -- '-?*' $words[1]
            test $words[1] = -r; and set reader yes
            if __ulock_wants_value $words[1]
                set -e words[1]
                if not set -q words[1]
                    set places option
                    return
                end
            end
        else
            test $files = 2; and break
            set files (math $files + 1)
        end
        set -e words[1]
    end
    set -q words[1]; or test -n "$ended"; or set places option
    if test $files -lt 2
        set -a places file
    else if test -n "$reader"
        set -a places command
    end
end

function __ulock_at -a place
    set -l places
    set -l words
    __ulock_read
    contains -- $place $places
end

# The command, completed as if it stood alone.
function __ulock_command
    set -l places
    set -l words
    __ulock_read
    complete --do-complete=(string join ' ' -- (string escape -- $words) (commandline -ct))
end

# Values by their names in the table.
function __ulock_value -a name
    switch $name
        case SECONDS
            printf '%s\n' 0 10 60 5m 1h
    end
end

# Whether the next word is the value of the option, or of the last one of these letters.
function __ulock_wants_value -a word
    set -l valued (__ulock_options_with_value)
    switch $word
        case '--*=*'
            return 1
        case '--*'
            contains -- $word $valued; and return
            not contains -- $word (__ulock_options); and string match -q -- "$word*" $valued
        case '*'
            set -l letters (string match -r -- '^-.$' $valued | string sub -s 2 | string join '')
            test -n "$letters"; and string match -rq -- "^-[^$letters]*[$letters]\$" $word
    end
end

function __ulock_options
    string split ' ' -- '-w -r --timeout --invalid -h --help -V --version'
end
function __ulock_options_with_value
    string split ' ' -- '--timeout --invalid'
end

complete -c ulock -n '__ulock_at option' -s w -d 'make LOCK as a writer, who waits until nobody reads'
complete -c ulock -n '__ulock_at option' -s r -d 'run a command as a reader, who waits until nobody writes'
complete -c ulock -n '__ulock_at option' -l timeout -x -a '(__ulock_value SECONDS)' -d 'wait at most this long, default -1: for ever'
complete -c ulock -n '__ulock_at option' -l invalid -x -a '(__ulock_value SECONDS)' -d 'take over a LOCK that is older than this, default 60'
complete -c ulock -n '__ulock_at option' -s h -l help -d 'show this help'
complete -c ulock -n '__ulock_at option' -s V -l version -d 'show the version'
complete -c ulock -n 'not __ulock_at file' -f
complete -c ulock -n '__ulock_at command' -f -a '(__ulock_command)'
