# Completion of @name@(1) for fish, @made@.

# Sets `places`, what is possible at the cursor: option (or its value), file, command; and `words`,
# the words of the command before the cursor.
function __@function@_read --no-scope-shadowing
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
            if __@function@_wants_value $words[1]
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

function __@function@_at -a place
    set -l places
    set -l words
    __@function@_read
    contains -- $place $places
end

# The command, completed as if it stood alone.
function __@function@_command
    set -l places
    set -l words
    __@function@_read
    complete --do-complete=(string join ' ' -- (string escape -- $words) (commandline -ct))
end

# Values by their names in the table.
function __@function@_value -a name
    switch $name
        case SECONDS
            printf '%s\n' 0 10 60 5m 1h
    end
end

@copy __flock_wants_value@

@lists@

@options@
complete -c @name@ -n 'not __@function@_at file' -f
complete -c @name@ -n '__@function@_at command' -f -a '(__@function@_command)'
