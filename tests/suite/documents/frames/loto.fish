# Completion of @name@(1) for fish, @made@.

# Whether the cursor is at an option (or its value), or in the command, whose words before the
# cursor __@function@_words prints.
function __@function@_at -a place
    if contains -- -- (commandline -opc)
        test $place = command
    else
        test $place = option
    end
end

function __@function@_words
    set -l words (commandline -opc)
    set -e words[1..(contains -i -- -- $words)]
    string escape -- $words
end

# The command, completed as if it stood alone.
function __@function@_command
    complete --do-complete=(string join ' ' -- (__@function@_words) (commandline -ct))
end

# Values by their names in the table. A short option can be followed by an equals sign.
function __@function@_value -a name
    set -l sign (string match -r -- '^-[^-]=' (commandline -ct) | string sub -s 3)
    switch $name
        case FILE
            printf '%s\tresource\n' "$sign"{cpu,net} "$sign"(__@function@_named)
            __fish_complete_path (commandline -ct | string replace -r -- '^-[^-]' '')
        case TIME
            printf '%s\n' "$sign"{0.5,10s,1m,5m,1h}
    end
end

# The resources that the administrator has defined.
function __@function@_named
    set -q LOTO_CONF; or set -l LOTO_CONF /etc/loto.conf
    sed -n 's/^[[:blank:]]*\([^#[:blank:]][^[:blank:]]*\).*/\1/p' $LOTO_CONF 2>/dev/null
end

@options@
complete -c @name@ -n '__@function@_at option' -f -a '--' -d 'the command follows'
complete -c @name@ -n '__@function@_at command' -f -a '(__@function@_command)'
