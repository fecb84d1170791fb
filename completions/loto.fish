# Completion of loto(1) for fish, made whole by `make docs`; its frame is in tests/suite/documents.

# Whether the cursor is at an option (also its value), or in the command, whose words before the cursor are then printed
# by __loto_words.
function __loto_at -a place
    if contains -- -- (commandline -opc)
        test $place = command
    else
        test $place = option
    end
end

function __loto_words
    set -l words (commandline -opc)
    set -e words[1..(contains -i -- -- $words)]
    string escape -- $words
end

# The command, completed as if it stood alone.
function __loto_command
    complete --do-complete=(string join ' ' -- (__loto_words) (commandline -ct))
end

# Values by their names in the table. Behind a letter there may be an equals sign.
function __loto_value -a name
    set -l sign (string match -r -- '^-[^-]=' (commandline -ct) | string sub -s 3)
    switch $name
        case FILE
            printf '%s\tresource\n' "$sign"{cpu,net} "$sign"(__loto_named)
            __fish_complete_path (commandline -ct | string replace -r -- '^-[^-]' '')
        case TIME
            printf '%s\n' "$sign"{0.5,10s,1m,5m,1h}
    end
end

# What the administrator has named.
function __loto_named
    set -q LOTO_CONF; or set -l LOTO_CONF /etc/loto.conf
    sed -n 's/^[[:blank:]]*\([^#[:blank:]][^[:blank:]]*\).*/\1/p' $LOTO_CONF 2>/dev/null
end

complete -c loto -n '__loto_at option' -s L -x -a '(__loto_value FILE)' -d 'lock this file or resource; may be given several times'
complete -c loto -n '__loto_at option' -s w -d 'wait for the lock'
complete -c loto -n '__loto_at option' -s t -x -a '(__loto_value TIME)' -d 'wait for the lock, but at most this long: 5, 0.5, 1m30s'
complete -c loto -n '__loto_at option' -s q -d 'say nothing, and return 0, when the lock is taken'
complete -c loto -n '__loto_at option' -s v -d 'tell what is done'
complete -c loto -n '__loto_at option' -s h -l help -d 'show this help'
complete -c loto -n '__loto_at option' -s V -l version -d 'show the version'
complete -c loto -n '__loto_at option' -f -a '--' -d 'the command stands behind it'
complete -c loto -n '__loto_at command' -f -a '(__loto_command)'
